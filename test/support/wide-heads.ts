import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { synth } from "../../src/checkpoint/synth.ts";
import type { Workspace } from "./pipeline.ts";
import { ROOT } from "./sources.ts";

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
export async function wideHeads(work: Workspace, change: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const file = join(ROOT, "test/fixtures/parity/llava_mqa/config.json");
  const config = JSON.parse(await readFile(file, "utf8")) as { readonly text_config: object };
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
  await synth({ config: { ...config, text_config }, dtype: "float16", seed: 7, maxShardSize: 1 << 30, outputDir });
  return outputDir;
}
