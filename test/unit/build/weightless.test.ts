import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { BuildPlan } from "../../../src/build/plan.ts";
import { planBuild, planShapes } from "../../../src/build/plan-build.ts";
import { convert } from "../../../src/checkpoint/convert.ts";
import { publishedModels } from "../../../src/checkpoint/published.ts";
import { NO_QUANTIZATION } from "../../../src/checkpoint/quantization-options.ts";
import { synth } from "../../../src/checkpoint/synth.ts";
import { type Config, reduced, withLanguageSizes } from "../../../src/checkpoint/synth-sizes.ts";
import { weightlessCheckpoint } from "../../../src/checkpoint/weightless.ts";
import { readModel } from "../../../src/models/registry.ts";
import { withDefaults } from "../../../src/options/define.ts";
import { type BuildOptions, buildOptions } from "../../../src/options/tables/build.ts";
import { convertTo, Workspace } from "../../support/pipeline.ts";
import { ROOT } from "../../support/sources.ts";

const work = new Workspace();
afterEach(() => work.clean());

const origin = (key: string): string => `--${key}`;
const LIMITS = { max_batch_size: 3, max_input_len: 789, max_seq_len: 989 };
const ENVIRONMENT = { version: "0.0.0-test", origin, given: (key: string) => key in LIMITS };
const models = await publishedModels();
const SHAPES = join(ROOT, "test/fixtures/models/llava-shapes");
/** Activations of that model, measured before. */
const RANGES = join(ROOT, "test/fixtures/quantize/llava-shapes.safetensors");

/** The smallest relative that keeps every part; a vocabulary without an image token in it is cut as well. */
function small(config: Config): Config {
  const fewer = reduced(config, { layers: 2, shrink: 1000 });
  const { imageTokenId } = readModel(fewer).spec;
  return imageTokenId === undefined || imageTokenId < 0 ? withLanguageSizes(fewer, { vocab_size: 509 }, origin) : fewer;
}

function parallelOf(tpSize: number) {
  return { tpSize, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false } as const;
}

async function convertedFrom(config: Config, tpSize: number): Promise<{ model: string; checkpoint: string }> {
  const dir = await work.dir();
  const [model, checkpoint] = [join(dir, "model"), join(dir, "checkpoint")];
  await synth({ config, dtype: "float16", seed: 3, maxShardSize: 1e9, outputDir: model });
  const request = {
    modelDir: model,
    outputDir: checkpoint,
    dtype: "auto",
    workers: 1,
    strict: false,
    hash: false,
  } as const;
  await convert({ ...request, parallel: parallelOf(tpSize), version: ENVIRONMENT.version, origin });
  return { model, checkpoint };
}

function asked(checkpoint_dir: string): BuildOptions {
  return withDefaults(buildOptions, { checkpoint_dir, output_dir: "engines", ...LIMITS });
}

async function planned(config: Config, tpSize: number): Promise<BuildPlan> {
  const parallel = parallelOf(tpSize);
  const request = { config, name: "m", dtype: "float16", parallel, version: ENVIRONMENT.version, origin } as const;
  return planShapes(weightlessCheckpoint(request).checkpoint, asked(""), ENVIRONMENT);
}

/** Everything of a plan that is not a path or a step. */
function shapesOf({ engines, memory, configs, model, options, adjustments, problems }: BuildPlan): object {
  return {
    engines: engines.map(({ source: _, ...engine }) => engine),
    memory,
    configs,
    model,
    options,
    adjustments,
    problems,
  };
}

describe("a plan without weights", () => {
  it.each(models)("is what build --plan says of a small $name that was made and converted", async ({ config }) => {
    const made = small(config);
    const { checkpoint } = await convertedFrom(made, 1);
    const real = await planBuild(asked(checkpoint), ENVIRONMENT);
    expect(real.problems).toEqual([]);
    expect(real.engines.length).toBeGreaterThan(0);
    expect(shapesOf(await planned(made, 1))).toEqual(shapesOf(real));
  });

  it("is so for tensor-parallel ranks too", async () => {
    const llama = models.find(({ name }) => name === "llama-3-8b")?.config ?? {};
    const made = withLanguageSizes(reduced(llama, { layers: 1, shrink: 8 }), { vocab_size: 19 }, origin);
    const { checkpoint } = await convertedFrom(made, 2);
    const real = await planBuild(asked(checkpoint), ENVIRONMENT);
    expect(real.engines.map(({ name }) => name)).toEqual(["llm/rank0", "llm/rank1"]);
    expect(shapesOf(await planned(made, 2))).toEqual(shapesOf(real));
  });

  it.each([
    ["INT8 weights", { use_weight_only: true }],
    ["INT4 weights with a scale an output", { use_weight_only: true, weight_only_precision: "int4" }],
    ["INT4 in groups, an FP8 cache", { qformat: "int4_wo", group_size: 16, fp8_kv_cache: true }],
    ["SmoothQuant, an INT8 cache", { smoothquant: 0.5, per_channel: true, int8_kv_cache: true, act_ranges: RANGES }],
    ["FP8", { qformat: "fp8", act_ranges: RANGES }],
  ] as const)("has codes and scales as large as convert writes them: %s", async (_, asks) => {
    const quantization = { ...NO_QUANTIZATION, ...asks };
    const checkpoint = await convertTo(work, SHAPES, "float16", { quantization });
    const rtx = (dir: string): BuildOptions => ({ ...asked(dir), backend: "tensorrt_rtx", compute_capabilities: [89] });
    const real = await planBuild(rtx(checkpoint), ENVIRONMENT);
    const config = JSON.parse(await readFile(join(SHAPES, "config.json"), "utf8"));
    const weightless = { config, name: "m", dtype: "float16", parallel: parallelOf(1), quantization } as const;
    const made = weightlessCheckpoint({ ...weightless, version: ENVIRONMENT.version, origin });
    expect(shapesOf(await planShapes(made.checkpoint, rtx(""), ENVIRONMENT))).toEqual(shapesOf(real));
  });

  it("refuses what convert would refuse", async () => {
    const llama = models.find(({ name }) => name === "llama-2-7b")?.config ?? {};
    await expect(planned(llama, 3)).rejects.toThrow(/CKP052.*tp_size 3/);
    const quantization = { ...NO_QUANTIZATION, use_weight_only: true, smoothquant: 0.5 };
    const request = { config: llama, name: "m", dtype: "float16", parallel: parallelOf(1), quantization } as const;
    expect(() => weightlessCheckpoint({ ...request, version: ENVIRONMENT.version, origin })).toThrow(/CKP081/);
  });
});

describe("synth", () => {
  it("writes VILA's three directories and LLaVA's two", async () => {
    const config = (name: string): Config => small(models.find(model => model.name === name)?.config ?? {});
    const vila = await convertedFrom(config("vila1.5-3b"), 1);
    expect((await readdir(vila.model)).sort()).toEqual(["config.json", "llm", "mm_projector", "vision_tower"]);
    expect((await readdir(join(vila.model, "mm_projector"))).sort()).toEqual(["config.json", "model.safetensors"]);
    const llava = await convertedFrom(config("llava-v1.5-7b"), 1);
    expect((await readdir(llava.model)).sort()).toEqual(["config.json", "model.safetensors", "openai"]);
    expect(await readdir(join(llava.model, "openai"))).toEqual(["clip-vit-large-patch14-336"]);
  });
});
