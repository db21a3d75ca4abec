import { synth as writeSynthetic } from "../../checkpoint/synth.ts";
import { synthConfig } from "../../checkpoint/synth-presets.ts";
import type { LanguageSizes } from "../../checkpoint/synth-sizes.ts";
import { type SynthOptions, synthOptions } from "../../options/tables/synth.ts";
import { defineCommand } from "../command.ts";
import { hubConfig } from "../hub.ts";

/** Options that override one size of the language model. */
const SIZES = [
  "hidden_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "intermediate_size",
  "vocab_size",
  "tie_word_embeddings",
] as const;

export const synth = defineCommand({
  name: "synth",
  options: synthOptions,
  async run({ options, origin, ui, signal }) {
    const base = await hubConfig({ ui, origin, signal }, { key: "model_config", value: options.model_config });
    const result = await writeSynthetic({
      config: await synthConfig({
        base,
        preset: options.preset,
        architecture: options.architecture,
        reduction: { layers: options.layers, shrink: options.shrink },
        sizes: sizesOf(options),
        origin,
      }),
      dtype: options.dtype,
      seed: options.seed,
      maxShardSize: options.max_shard_size,
      outputDir: options.output_dir,
      signal,
      onProgress: (done, total) => ui.progress({ id: "synth", label: "writing weights", done, total, unit: "B" }),
    });
    const { tensors, bytes, files } = result;
    ui.result(`wrote ${options.output_dir}: ${tensors} tensors, ${(bytes / 1e9).toFixed(2)} GB`, {
      output_dir: options.output_dir,
      tensors,
      bytes,
      files,
    });
  },
});

function sizesOf(options: SynthOptions): LanguageSizes {
  return Object.fromEntries(SIZES.map(key => [key, options[key]]));
}
