import type { Architecture, CheckpointConfig, CheckpointLayout, NameRule } from "../architecture.ts";
import type { DecoderSpec } from "../spec.ts";
import { decoderGraph } from "./decoder-graph.ts";
import { type LanguageFamily, languageCopies } from "./language.ts";
import { packedWeights } from "./packed-vit.ts";
import { packedVisualGraph } from "./packed-vit-graph.ts";
import { type QwenVl, readQwenVlSpec } from "./qwen-vl-spec.ts";

/** transformers' classes have both parts under `model.`; Qwen2-VL and Qwen2.5-VL are saved as they were before that. */
const NAMES: readonly NameRule[] = [
  { stored: /^model\.language_model\./, canonical: "model." },
  { stored: /^model\.visual\./, canonical: "visual." },
];

/** Buffers that old versions saved. */
const IGNORED: readonly RegExp[] = [/^visual\.rotary_pos_emb\.inv_freq$/];

interface QwenVlFamily extends QwenVl {
  /** `ModelWeights.published`. */
  published?(canonical: string): string;
}

/** Packed patches through an encoder with its own projector, and a Qwen whose positions have three axes. */
export function qwenVl(model: QwenVlFamily): Architecture {
  const { language: family, published } = model;
  return {
    hf: [model.architecture],
    readsProcessor: true,
    readSpec: c => c.finish(readQwenVlSpec(c, model)),
    weights: ({ language, packedVision }) => ({
      names: NAMES,
      language: family.weights(language),
      visual: packedVision ? packedWeights(packedVision) : [],
      ignore: [...family.ignore, ...IGNORED],
      ...(published && { published }),
      copies: languageCopies(family, language),
    }),
    checkpointConfig: ({ language }, layout) => family.config(language, layout),
    limits: ({ language: { deepstackLevels: levels } }) =>
      levels === undefined ? {} : { firstStageLayers: { least: levels, why: DEEPSTACK } },
    languageGraph: decoderGraph,
    visualGraph: packedVisualGraph,
  };
}

const DEEPSTACK = "visual features are added behind each of those layers, and only the first stage has them";

/** The language model's config with what TensorRT-LLM's for Qwen2-VL says of positions. */
export function mropeConfig(
  config: LanguageFamily["config"],
  spec: DecoderSpec,
  layout: CheckpointLayout,
): CheckpointConfig {
  const usual = config(spec, layout);
  const { sections, interleaved } = spec.mrope ?? { sections: [], interleaved: false };
  return {
    ...usual,
    architecture: spec.architecture,
    position_embedding_type: "mrope",
    rotary_embedding_dim: spec.headDim,
    rotary_scaling: {
      ...(usual.rotary_scaling as Readonly<Record<string, unknown>> | null),
      type: "mrope",
      mrope_section: sections,
      ...(interleaved && { mrope_interleaved: true }),
    },
  };
}
