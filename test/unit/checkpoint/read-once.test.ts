import { existsSync, readFileSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { convert } from "../../../src/checkpoint/convert.ts";
import { publishedModels } from "../../../src/checkpoint/published.ts";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../../src/checkpoint/quantization-options.ts";
import { synth } from "../../../src/checkpoint/synth.ts";
import { type LanguageSizes, reduced, withLanguageSizes } from "../../../src/checkpoint/synth-sizes.ts";
import { writeSafetensors } from "../../../src/formats/safetensors.ts";
import { Workspace } from "../../support/pipeline.ts";
import { floats } from "../../support/tensors.ts";

const IO = "/proc/self/io";
const work = new Workspace();
afterAll(() => work.clean());

/** Bytes that this process has asked the system to read, from any file, cached or not. */
function bytesRead(): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(IO, "utf8"))?.[1]);
}

interface Source {
  readonly dir: string;
  readonly bytes: number;
  /** Read besides, to know the files again: 64 pieces of 64 KiB of each, at most the whole of it. */
  readonly samples: number;
  readonly config: Readonly<Record<string, unknown>>;
}

async function model(kvHeads: number, language: LanguageSizes = {}): Promise<Source> {
  const dir = join(await work.dir(), "model");
  const published = (await publishedModels()).find(({ name }) => name === "llama-3-8b")?.config ?? {};
  const config = withLanguageSizes(
    reduced(published, { layers: 4, shrink: 4 }),
    { vocab_size: 4096, num_key_value_heads: kvHeads, ...language },
    key => `--${key}`,
  );
  await synth({ config, dtype: "float16", seed: 19, maxShardSize: 19e6, outputDir: dir });
  const weights = (await readdir(dir)).filter(name => name.endsWith(".safetensors"));
  const sizes = await Promise.all(weights.map(async name => (await stat(join(dir, name))).size));
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
  return { dir, bytes: sum(sizes), samples: sum(sizes.map(size => Math.min(size, 64 * 64 * 1024))), config };
}

interface Conversion {
  readonly split: { readonly tpSize: number; readonly ppSize: number };
  readonly workers: number;
  readonly dtype?: "bfloat16";
  readonly quantization?: Partial<QuantizationOptions>;
}

/** Bytes read by a conversion over those of the source. */
async function timesRead(source: Source, { split, workers, dtype, quantization }: Conversion): Promise<number> {
  const parallel = { ...split, parallelEmbedding: true, embeddingShardingDim: 0, shareEmbedding: false } as const;
  const run = async (): Promise<number> => {
    const outputDir = join(await work.dir(), "checkpoint");
    const before = bytesRead();
    const plain = { modelDir: source.dir, outputDir, strict: false, hash: false, version: "0" } as const;
    await convert({
      ...plain,
      dtype: dtype ?? "auto",
      parallel,
      workers,
      quantization: { ...NO_QUANTIZATION, ...quantization },
      origin: key => `--${key}`,
    });
    return bytesRead() - before;
  };
  // The first loads code as well.
  await run();
  return ((await run()) - source.samples) / source.bytes;
}

/** Ranges of activations that are all the same. */
async function evenRanges({ config }: Source): Promise<string> {
  const size = (key: string): number => config[key] as number;
  const [hidden, intermediate] = [size("hidden_size"), size("intermediate_size")];
  const kv = (hidden / size("num_attention_heads")) * size("num_key_value_heads");
  const products: Readonly<Record<string, readonly [number, number]>> = {
    "self_attn.q_proj": [hidden, hidden],
    "self_attn.k_proj": [hidden, kv],
    "self_attn.v_proj": [hidden, kv],
    "self_attn.o_proj": [hidden, hidden],
    "mlp.gate_proj": [hidden, intermediate],
    "mlp.up_proj": [hidden, intermediate],
    "mlp.down_proj": [intermediate, hidden],
  };
  const range = (name: string, length: number) => floats(name, [length], new Array<number>(length).fill(4));
  const layers = Array.from({ length: size("num_hidden_layers") }, (_, layer) =>
    Object.entries(products).flatMap(([name, [x, y]]) => [
      range(`model.layers.${layer}.${name}.x`, x),
      range(`model.layers.${layer}.${name}.y`, y),
    ]),
  );
  const file = join(await work.dir(), "ranges.safetensors");
  await writeSafetensors(file, layers.flat());
  return file;
}

const TP8 = { tpSize: 8, ppSize: 1 };

describe.skipIf(!existsSync(IO))("a conversion for eight GPUs reads each byte of its source once", () => {
  const eightHeads = model(8);
  const twoHeads = model(2);
  const small = model(2, { hidden_size: 512, num_hidden_layers: 2, intermediate_size: 2048 });

  it.each([
    ["one worker", TP8, 1],
    ["four workers", TP8, 4],
    ["four workers and pipeline stages", { tpSize: 4, ppSize: 2 }, 4],
  ] as const)("with %s", async (_, split, workers) => {
    const source = await eightHeads;
    expect(source.bytes).toBeGreaterThan(100e6);
    const times = await timesRead(source, { split, workers });
    expect(times).toBeGreaterThan(1);
    expect(times).toBeLessThan(1.02);
  });

  const int4 = { use_weight_only: true, weight_only_precision: "int4" } as const;
  it.each([
    ["heads that several ranks repeat", {}],
    ["repeated heads of another dtype", { dtype: "bfloat16" }],
    ["INT8 weights", { quantization: { use_weight_only: true } }],
    ["INT4 weights", { quantization: int4 }],
    ["INT4 weights in groups", { quantization: { ...int4, group_size: 64 } }],
    ["INT8 weights and pipeline stages", { split: { tpSize: 4, ppSize: 2 }, quantization: { use_weight_only: true } }],
  ] as const)("with four workers and %s", async (_, conversion) => {
    const times = await timesRead(await twoHeads, { split: TP8, workers: 4, ...conversion });
    expect(times).toBeGreaterThan(1);
    expect(times).toBeLessThan(1.02);
  });

  it.each([
    ["SmoothQuant", { smoothquant: 0.5, per_channel: true, per_token: true }],
    ["FP8", { qformat: "fp8" }],
    ["INT8 weights in the order of kernels", { use_weight_only: true, weight_layout: "sm80" }],
  ] as const)("with four workers and %s, which takes several passes", async (_, options) => {
    const source = await small;
    const calibrated = !("use_weight_only" in options);
    const quantization = { ...options, ...(calibrated && { act_ranges: await evenRanges(source) }) };
    const times = await timesRead(source, { split: TP8, workers: 4, quantization });
    expect(times).toBeGreaterThan(1);
    expect(times).toBeLessThan(1.02);
  });
});
