import { type CheckpointConfig, type CheckpointLayout, defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { readSize } from "./parts/common-keys.ts";
import { type LanguageFamily, textOnly } from "./parts/language.ts";
import { layerKinds, readSlidingLayers } from "./parts/layer-kinds.ts";
import { llamaConfig } from "./parts/llama-config.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import { readRope } from "./parts/rope-spec.ts";
import type { DecoderSpec } from "./spec.ts";

/** SmolLM3Config's own: of a nested config keys with these values are left out. */
const DEFAULTS = {
  vocab_size: 128_256,
  hidden_size: 2048,
  intermediate_size: 11_008,
  num_hidden_layers: 36,
  num_attention_heads: 16,
  num_key_value_heads: 4,
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
};
const DEFAULT_BASE = 2_000_000;
/** One layer of so many counts no positions. */
const DEFAULT_INTERVAL = 4;

export const SMOLLM3: LanguageFamily = {
  ...LLAMA,
  architecture: "SmolLM3ForCausalLM",
  modelType: "smollm3",
  read: readSmolLm3Decoder,
  config: smolLm3Config,
};

/** Everything mmtrt knows about SmolLM3: LLaMA, of which some layers count no positions. */
export default defineArchitecture(textOnly(SMOLLM3));

function readSmolLm3Decoder(c: ConfigReader, nested: boolean): DecoderSpec {
  const spec = readLlamaDecoder(c, nested, DEFAULTS, {
    tied: true,
    rope: (reader, sizes) => readRope(reader, sizes, DEFAULT_BASE),
  });
  const counting = readCountingLayers(c, spec.layers);
  const slides = c.boolean("use_sliding_window", false) && c.has("sliding_window");
  const window = slides ? readSize(c, "sliding_window") : undefined;
  // Qwen's key, which SmolLM3's class does not read.
  c.ignore("sliding_window", "max_window_layers");
  const sliding = readSlidingLayers(c, spec.layers, layer => slides && !counting[layer]);
  const kinds = sliding.map((isSliding, layer) => ({
    rope: counting[layer] ? ("global" as const) : ("none" as const),
    ...(isSliding && window !== undefined && { window }),
  }));
  return { ...spec, architecture: "SmolLM3ForCausalLM", ...layerKinds(kinds) };
}

/** Which layers count positions: `no_rope_layers` has 1 for those that do, its name notwithstanding. */
function readCountingLayers(c: ConfigReader, layers: number): readonly boolean[] {
  const interval = c.integer("no_rope_layer_interval", DEFAULT_INTERVAL);
  const list = c.raw("no_rope_layers");
  if (list === undefined || list === null) return Array.from({ length: layers }, (_, i) => (i + 1) % interval !== 0);
  if (Array.isArray(list) && list.length >= layers && list.every(item => item === 0 || item === 1))
    return list.slice(0, layers).map(item => item === 1);
  c.problem(
    "SPC002",
    "no_rope_layers",
    `is not a list of ${layers} numbers 0 and 1`,
    "it says of each layer whether queries and keys are rotated by their positions",
    "give no_rope_layers as it was trained, one for each layer",
  );
  return Array<boolean>(layers).fill(true);
}

/** LLaMA's keys: TensorRT-LLM's builder has no class for SmolLM3, and its LLaMA would rotate every layer. */
function smolLm3Config(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  const counting = spec.layerKinds?.map(({ rope }) => (rope === "none" ? 0 : 1));
  return { ...llamaConfig(spec, layout), ...(counting && { no_rope_layers: counting }) };
}
