import { type CheckpointConfig, type CheckpointLayout, defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { conflict, readSize } from "./parts/common-keys.ts";
import { GEMMA_BASE, gemmaConfig, readGemma2Choices, readGemmaDecoder } from "./parts/gemma-decoder.ts";
import { type LanguageFamily, textOnly } from "./parts/language.ts";
import { layerKinds, readSlidingLayers } from "./parts/layer-kinds.ts";
import { readActivation } from "./parts/llama-spec.ts";
import { positive, type RopeSizes, type RopeSpec, readScaling } from "./parts/rope-spec.ts";
import type { DecoderSpec } from "./spec.ts";

/** Gemma3TextConfig's own: of a nested config keys with these values are left out. */
const DEFAULTS = {
  vocab_size: 262_208,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  max_position_embeddings: 131_072,
  rms_norm_eps: 1e-6,
};
const DEFAULT_WINDOW = 4096;
/** Every so many layers one sees everything. */
const DEFAULT_PATTERN = 6;
const BASES = { global: 1_000_000, local: 10_000 };

export const GEMMA3: LanguageFamily = {
  ...GEMMA_BASE,
  architecture: "Gemma3ForCausalLM",
  modelType: "gemma3_text",
  read: readGemma3Decoder,
  config: gemma3Config,
};

/** Everything mmtrt knows about Gemma 3 as a language model: layers with a window have a rotary base of their own. */
export default defineArchitecture(textOnly(GEMMA3));

function readGemma3Decoder(c: ConfigReader, nested: boolean): DecoderSpec {
  const spec = readGemmaDecoder(c, nested, DEFAULTS, { rope: readTwoRopes });
  const window = c.raw("sliding_window") === null ? undefined : readSize(c, "sliding_window", DEFAULT_WINDOW);
  const pattern = c.integer("_sliding_window_pattern", c.integer("sliding_window_pattern", DEFAULT_PATTERN));
  const sliding = readSlidingLayers(c, spec.layers, layer => (layer + 1) % pattern !== 0);
  const kinds = sliding.map(slides => ({
    rope: slides ? ("local" as const) : ("global" as const),
    ...(slides && window !== undefined && { window }),
  }));
  c.only("attn_logit_softcapping", [null], "transformers has the key and caps no scores of Gemma 3 by it");
  return {
    ...spec,
    architecture: "Gemma3ForCausalLM",
    activation: readActivation(c, "hidden_activation", "gelu_pytorch_tanh"),
    qkNorm: true,
    ...readGemma2Choices(c),
    ...layerKinds(kinds),
  };
}

/**
 * `rope_theta`, `rope_local_base_freq` and `rope_scaling` (transformers 4), or an object for each type of layer in
 * `rope_parameters` (5). The scaling is the full layers' alone.
 */
function readTwoRopes(c: ConfigReader, sizes: RopeSizes): RopeSpec {
  const inner = c.has("rope_parameters") ? c.object("rope_parameters") : undefined;
  if (inner === undefined) c.ignore("rope_parameters");
  const [full, sliding] = [inner?.object("full_attention"), inner?.object("sliding_attention")];
  sliding?.only("rope_type", ["default"], "layers with a window would have other angles than their base's");
  const base = (key: string, part: ConfigReader | undefined, type: string, usual: number): number => {
    const outer = c.has(key) ? positive(c, key) : undefined;
    const own = part?.has("rope_theta") ? positive(part, "rope_theta") : undefined;
    if (outer !== undefined && own !== undefined && outer !== own)
      conflict(c, key, outer, `rope_parameters.${type}.rope_theta`, own);
    return own ?? outer ?? usual;
  };
  const ropeTheta = base("rope_theta", full, "full_attention", BASES.global);
  const localRopeTheta = base("rope_local_base_freq", sliding, "sliding_attention", BASES.local);
  const scaled = c.has("rope_scaling") ? c.object("rope_scaling") : undefined;
  if (scaled === undefined) c.ignore("rope_scaling");
  const [own, outer] = [full && readScaling(full, sizes), scaled && readScaling(scaled, sizes)];
  if (full !== undefined && scaled !== undefined && JSON.stringify(own) !== JSON.stringify(outer))
    conflict(c, "rope_scaling", outer?.type ?? "default", "rope_parameters.full_attention", own?.type ?? "default");
  const ropeScaling = own ?? outer;
  return { ropeTheta, localRopeTheta, ...(ropeScaling && { ropeScaling }) };
}

/** As TensorRT-LLM's GemmaConfig dumps it since 0.19. Its own words for a pattern hold only where the pattern is one. */
function gemma3Config(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  const kinds = spec.layerKinds ?? [];
  const first = kinds.findIndex(({ rope }) => rope === "global");
  return {
    ...gemmaConfig(spec, layout),
    _sliding_window_pattern: first < 0 ? spec.layers + 1 : first + 1,
    rope_local_base_freq: spec.localRopeTheta,
    sliding_window: kinds.find(({ window }) => window !== undefined)?.window ?? spec.slidingWindow ?? null,
  };
}
