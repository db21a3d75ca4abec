import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import type { BuildEvent } from "../../src/build/events.ts";
import { findBuilder } from "../../src/build/find-builder.ts";
import { planBuild } from "../../src/build/plan-build.ts";
import { runPlan } from "../../src/build/run-plan.ts";
import { publishedModels } from "../../src/checkpoint/published.ts";
import { NO_QUANTIZATION } from "../../src/checkpoint/quantization-options.ts";
import { synth } from "../../src/checkpoint/synth.ts";
import { reduced, withLanguageSizes } from "../../src/checkpoint/synth-sizes.ts";
import { withDefaults } from "../../src/options/define.ts";
import { type BuildOptions, buildOptions } from "../../src/options/tables/build.ts";
import { convertTo, Workspace } from "../support/pipeline.ts";
import { ROOT } from "../support/sources.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

const MIB = 1024 ** 2;
const work = new Workspace();
afterAll(() => work.clean());

/** A published model with fewer and narrower layers: enough weights to tell from what the library takes. */
async function synthetic(name: string, layers: number, shrink: number): Promise<string> {
  const dir = join(await work.dir(), "model");
  const found = (await publishedModels()).find(model => model.name === name)?.config ?? {};
  const config = reduced(found, { layers, shrink });
  await synth({
    config: withLanguageSizes(config, {}, key => key),
    dtype: "float16",
    seed: 19,
    maxShardSize: 1e9,
    outputDir: dir,
  });
  return dir;
}

async function built(python: string, checkpoint_dir: string, given: Partial<BuildOptions>) {
  const limits = { max_batch_size: 2, max_input_len: 128, max_seq_len: 131, compute_capabilities: [86] };
  const output_dir = join(await work.dir(), "engines");
  const rtx = { checkpoint_dir, output_dir, backend: "tensorrt_rtx", python } as const;
  const options = withDefaults(buildOptions, { ...rtx, ...limits, ...given });
  const env = process.env;
  const signal = new AbortController().signal;
  const builder = await findBuilder(options, { env, signal, trtexecFlags: [], optional: false });
  const keys = new Set([...Object.keys(limits), ...Object.keys(given)]);
  const plan = await planBuild(options, {
    version: "0",
    origin: key => `--${key}`,
    given: key => keys.has(key),
    builder,
  });
  const events: BuildEvent[] = [];
  for await (const event of runPlan(plan, signal, env)) events.push(event);
  const end = events.find(event => event.event === "built");
  return { plan, events, engines: end?.event === "built" ? end.engines : [], dir: output_dir };
}

describeTensorRT("the predicted memory of a builder", python => {
  const shapes = join(ROOT, "test/fixtures/models/llava-shapes");
  const coded = { quantization: { ...NO_QUANTIZATION, use_weight_only: true } };
  const grouped = {
    quantization: { ...NO_QUANTIZATION, use_weight_only: true, weight_only_precision: "int4", group_size: 32 } as const,
  };

  it.each([
    ["a small LLaVA, decoder and tower", () => convertTo(work, shapes, "float16"), {}],
    ["LLaMA in float16", async () => convertTo(work, await synthetic("llama-1.1b", 2, 4), "float16"), {}],
    [
      "LLaMA in bfloat16, a step of one row",
      async () => convertTo(work, await synthetic("llama-1.1b", 4, 2), "bfloat16"),
      { max_batch_size: 1 },
    ],
    ["LLaMA in INT8", async () => convertTo(work, await synthetic("llama-1.1b", 2, 2), "float16", coded), {}],
    ["LLaMA in INT4 groups", async () => convertTo(work, await synthetic("llama-1.1b", 2, 2), "float16", grouped), {}],
    ["GPT-2 in float32", async () => convertTo(work, await synthetic("gpt2", 2, 2), "float32"), {}],
    ["T5, three graphs", async () => convertTo(work, await synthetic("t5-small", 2, 2), "bfloat16"), {}],
  ] as const)(
    "is within a quarter of what it took: %s",
    async (_, checkpoint, given) => {
      const { plan, engines, dir } = await built(python, await checkpoint(), given);
      expect(engines.length).toBe(plan.engines.length);
      for (const { name, peak_host_mib: peak, predicted_host_mib: predicted } of engines) {
        expect(peak, name).toBeGreaterThan(150);
        expect(Math.abs((predicted ?? 0) / (peak ?? 1) - 1), `${name}: ${predicted} MiB for ${peak} MiB`).toBeLessThan(
          0.25,
        );
      }
      // The manifest keeps both.
      const { parts } = JSON.parse(readFileSync(join(dir, "mmtrt.json"), "utf8"));
      expect(parts.map(({ built }: { built: { peak_host_mib: number } }) => built.peak_host_mib)).toEqual(
        engines.map(({ peak_host_mib }) => peak_host_mib),
      );
    },
    240_000,
  );

  it("decides how many real builders run at a time", async () => {
    const parallel = {
      tpSize: 2,
      ppSize: 1,
      parallelEmbedding: false,
      embeddingShardingDim: 0,
      shareEmbedding: false,
    } as const;
    const checkpoint = await convertTo(work, shapes, "float16", { parallel });
    const alone = await built(python, checkpoint, { workers: 3, only: "llm" });
    const mib = Math.ceil(alone.plan.build_memory.peak / MIB);
    const atOnce = (events: readonly BuildEvent[]): number => {
      let running = 0;
      const counts = events.map(event => {
        if (event.event !== "step" || !event.id.startsWith("engine ")) return running;
        running += event.state === "start" ? 1 : -1;
        return running;
      });
      return Math.max(...counts);
    };
    expect(atOnce(alone.events)).toBe(2);
    const tight = await built(python, checkpoint, { workers: 3, only: "llm", max_build_memory: `${mib + 19}MiB` });
    expect(atOnce(tight.events)).toBe(1);
    expect(tight.engines).toHaveLength(2);
  }, 240_000);
});
