import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { synth } from "../../src/checkpoint/synth.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import type { Workspace } from "./pipeline.ts";
import { ROOT } from "./sources.ts";
import { floats } from "./tensors.ts";

/** Sizes that every plugin takes: heads of 64 channels, three for one key/value head, products of 32 columns and more. */
export const WIDE = {
  hidden: 192,
  heads: 3,
  kvHeads: 1,
  headDim: 64,
  intermediate: 288,
  layers: 2,
  vocab: 131,
} as const;

/** A LLaVA of those sizes with seeded random weights; heads of the small fixtures are narrower than any kernel's. */
export async function wideHeads(
  work: Workspace,
  change: Readonly<Record<string, unknown>> = {},
  vision: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const file = join(ROOT, "test/fixtures/parity/llava_mqa/config.json");
  const config = JSON.parse(await readFile(file, "utf8")) as {
    readonly text_config: object;
    readonly vision_config: object;
  };
  const text_config = {
    ...config.text_config,
    hidden_size: WIDE.hidden,
    num_attention_heads: WIDE.heads,
    num_key_value_heads: WIDE.kvHeads,
    head_dim: WIDE.headDim,
    intermediate_size: WIDE.intermediate,
    num_hidden_layers: WIDE.layers,
    ...change,
  };
  const outputDir = join(await work.dir(), "wide");
  const vision_config = { ...config.vision_config, ...vision };
  await synth({
    config: { ...config, text_config, vision_config },
    dtype: "float16",
    seed: 7,
    maxShardSize: 1 << 30,
    outputDir,
  });
  return outputDir;
}

/** Largest activations of every product, as a calibration would have measured them. */
export async function constantRanges(work: Workspace): Promise<string> {
  const file = join(await work.dir(), "ranges.safetensors");
  const { hidden, heads, kvHeads, headDim, intermediate, layers } = WIDE;
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const products: Readonly<Record<string, readonly [number, number]>> = {
    "self_attn.q_proj": [hidden, q],
    "self_attn.k_proj": [hidden, kv],
    "self_attn.v_proj": [hidden, kv],
    "self_attn.o_proj": [q, hidden],
    "mlp.gate_proj": [hidden, intermediate],
    "mlp.up_proj": [hidden, intermediate],
    "mlp.down_proj": [intermediate, hidden],
  };
  const range = (name: string, size: number) => floats(name, [size], new Array<number>(size).fill(4));
  const all = Array.from({ length: layers }, (_, layer) =>
    Object.entries(products).flatMap(([name, [x, y]]) => [
      range(`model.layers.${layer}.${name}.x`, x),
      range(`model.layers.${layer}.${name}.y`, y),
    ]),
  );
  await writeSafetensors(file, all.flat());
  return file;
}
