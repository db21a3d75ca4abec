import { fail } from "../diagnostics/index.ts";
import { DECODER_PRESETS } from "./synth-presets-decoders.ts";

type Config = Readonly<Record<string, unknown>>;

const llama = (
  hidden_size: number,
  num_hidden_layers: number,
  num_attention_heads: number,
  num_key_value_heads: number,
  intermediate_size: number,
  more: Config = {},
): Config => ({
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size,
  num_hidden_layers,
  num_attention_heads,
  num_key_value_heads,
  intermediate_size,
  vocab_size: 32_000,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  hidden_act: "silu",
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
  ...more,
});

const llava = (text_config: Config, vision_config: Config, image_token_index: number): Config => ({
  architectures: ["LlavaForConditionalGeneration"],
  model_type: "llava",
  text_config,
  vision_config: { model_type: "clip_vision_model", hidden_act: "quick_gelu", ...vision_config },
  image_token_index,
  projector_hidden_act: "gelu",
  vision_feature_layer: -2,
  vision_feature_select_strategy: "default",
});

const CLIP_L_336 = {
  hidden_size: 1024,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  intermediate_size: 4096,
  image_size: 336,
  patch_size: 14,
  projection_dim: 768,
};
const LLAMA3 = {
  vocab_size: 128_256,
  rope_theta: 500_000,
  max_position_embeddings: 8192,
  bos_token_id: 128_000,
  eos_token_id: 128_001,
};
const LLAVA_TEXT = { vocab_size: 32_064 };

/** Shapes of published models, and two that take a second. The first of an architecture is its default. */
export const PRESETS: Readonly<Record<string, Config>> = {
  "llama-1.1b": llama(2048, 22, 32, 4, 5632, { max_position_embeddings: 2048 }),
  "llama-tiny": llama(48, 3, 6, 2, 88, { vocab_size: 199, max_position_embeddings: 128 }),
  "llama-2-7b": llama(4096, 32, 32, 32, 11_008),
  "llama-2-13b": llama(5120, 40, 40, 40, 13_824),
  "llama-2-70b": llama(8192, 80, 64, 8, 28_672),
  "llama-3-8b": llama(4096, 32, 32, 8, 14_336, LLAMA3),
  "llama-3-70b": llama(8192, 80, 64, 8, 28_672, LLAMA3),
  "llava-1.5-7b": llava(llama(4096, 32, 32, 32, 11_008, LLAVA_TEXT), CLIP_L_336, 32_000),
  "llava-1.5-13b": llava(llama(5120, 40, 40, 40, 13_824, LLAVA_TEXT), CLIP_L_336, 32_000),
  "llava-tiny": llava(
    llama(48, 3, 6, 2, 88, { vocab_size: 199, max_position_embeddings: 128 }),
    {
      hidden_size: 40,
      num_hidden_layers: 3,
      num_attention_heads: 5,
      intermediate_size: 72,
      image_size: 42,
      patch_size: 14,
    },
    198,
  ),
  ...DECODER_PRESETS,
};

export interface SynthChoice {
  /** A whole config.json; the preset is not used then. */
  readonly base: Config | undefined;
  readonly preset: string | undefined;
  readonly architecture: string;
  /** Keys of the language model that replace the preset's. */
  readonly sizes: Config;
  readonly origin: (key: string) => string;
}

/** The config.json to make weights for. Errors: CKP057 unknown preset or none for the architecture. */
export function synthConfig({ base, preset, architecture, sizes, origin }: SynthChoice): Config {
  const config = base ?? presetOf(preset, architecture, origin);
  const { text_config: text } = config;
  return typeof text === "object" && text !== null
    ? { ...config, text_config: { ...text, ...sizes } }
    : { ...config, ...sizes };
}

function presetOf(preset: string | undefined, architecture: string, origin: (key: string) => string): Config {
  const names = Object.keys(PRESETS);
  const name = preset ?? names.find(known => hfClass(known) === architecture);
  const config = name !== undefined && Object.hasOwn(PRESETS, name) ? PRESETS[name] : undefined;
  if (config !== undefined) return config;
  return fail({
    code: "CKP057",
    what: preset === undefined ? `there is no preset for ${architecture}` : `there is no preset ${preset}`,
    at: origin(preset === undefined ? "architecture" : "preset"),
    why: "the shapes of all tensors follow from a model's sizes",
    fix: `--preset ${names.join(", ")}, or --model_config FILE with a config.json`,
  });
}

function hfClass(preset: string): unknown {
  const classes = PRESETS[preset]?.architectures;
  return Array.isArray(classes) ? classes[0] : undefined;
}
