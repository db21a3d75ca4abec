import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { calibrate } from "../../src/build/calibrate.ts";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../src/checkpoint/quantization-options.ts";
import { synth } from "../../src/checkpoint/synth.ts";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import { verifyRanks } from "../../src/runtime/ranks/verify.ts";
import { openRunnable } from "../../src/runtime/runnable.ts";
import type { StageResult } from "../../src/runtime/verify/stages.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { FIXTURES } from "./describe-parity.ts";
import { buildTo, convertTo, type Workspace } from "./pipeline.ts";

/** How a model is dealt out; everything left out is one rank's. */
export interface Split {
  readonly tp?: number;
  readonly pp?: number;
  /** --use_parallel_embedding --embedding_sharding_dim. */
  readonly table?: 0 | 1;
  /** --use_embedding_sharing. */
  readonly shared?: boolean;
}

export interface Made {
  readonly dtype?: FloatDtype;
  readonly quantization?: Partial<QuantizationOptions>;
  readonly build?: Partial<BuildOptions>;
}

/** Converts and builds a Hugging Face directory dealt out so. */
export async function splitEngine(work: Workspace, model: string, split: Split, made: Made = {}): Promise<string> {
  const parallel = {
    tpSize: split.tp ?? 1,
    ppSize: split.pp ?? 1,
    parallelEmbedding: split.table !== undefined,
    embeddingShardingDim: split.table ?? 0,
    shareEmbedding: split.shared ?? false,
  };
  const quantization = { ...NO_QUANTIZATION, ...made.quantization };
  const checkpoint = await convertTo(work, model, made.dtype ?? "float32", {
    parallel,
    quantization,
    measure: (request, { quantAlgo }) => calibrate(request, { rows: quantAlgo === "W4A16_AWQ" ? 4 : 0, threads: 1 }),
  });
  return buildTo(work, checkpoint, { max_batch_size: 2, max_input_len: 24, max_seq_len: 40, ...made.build });
}

/** `verify --ranks` of a model dealt out so beside the model in one piece: every stage, prompt and 3 steps. */
export async function compareSplit(
  work: Workspace,
  model: string,
  split: Split,
  made: Made = {},
): Promise<readonly StageResult[]> {
  const [ranked, whole] = [await splitEngine(work, model, split, made), await splitEngine(work, model, {}, made)];
  return verifyRanks({
    ranked: await openRunnable(ranked),
    whole: await openRunnable(whole),
    tolerance: undefined,
    steps: 3,
    ort: { threads: 1 },
    signal: new AbortController().signal,
  });
}

/** Nothing differs, and what was compared is all there is: logits of prompt and steps, and every layer once. */
export function expectAllEqual(results: readonly StageResult[], layers: number): void {
  const wrong = results.filter(({ state }) => state !== "equal");
  expect(wrong.map(({ stage, difference, note }) => `${stage}: ${difference?.worst ?? note}`)).toEqual([]);
  for (const at of ["prompt", "step 1", "step 2", "step 3"]) {
    const of = results
      .filter(({ stage }) => stage.startsWith(`${at}: `))
      .map(({ stage }) => stage.slice(at.length + 2));
    expect(of.filter(stage => /^layers\.\d+$/.test(stage))).toEqual(
      Array.from({ length: layers }, (_, layer) => `layers.${layer}`),
    );
    expect(of).toContain("logits");
  }
}

type Json = Readonly<Record<string, unknown>>;

/** A model with random weights: the config.json of a parity fixture with some sizes changed. */
export async function resized(work: Workspace, fixture: string, changes: Json): Promise<string> {
  const { dtype: _, ...config } = JSON.parse(await readFile(join(FIXTURES, fixture, "config.json"), "utf8")) as Json;
  const outputDir = join(await work.dir(), "model");
  await synth({ config: merged(config, changes), dtype: "float32", seed: 7, maxShardSize: 1e9, outputDir });
  return outputDir;
}

function merged(config: Json, changes: Json): Json {
  const changed = Object.entries(changes).map(([key, value]) => {
    const old = config[key];
    const inner = typeof value === "object" && value !== null && typeof old === "object" && old !== null;
    return [key, inner ? merged(old as Json, value as Json) : value] as const;
  });
  return { ...config, ...Object.fromEntries(changed) };
}
