import type { RopeSections } from "../layers/rope.ts";
import type { VisualTokenRule } from "../vision/index.ts";

/** How positions beyond the trained length are mapped onto RoPE angles; the field of config.json, read in any spelling. */
export interface RopeScaling {
  readonly type: "linear" | "dynamic" | "llama3" | "yarn" | "longrope";
  readonly factor: number;
  /** What else the type has, under Hugging Face's names (low_freq_factor, original_max_position_embeddings, …). */
  readonly parameters: Readonly<Record<string, number | boolean | readonly number[]>>;
}

/** One layer's attention, where a model has several kinds. */
export interface LayerKind {
  /** Tokens a query sees, itself included; all before it where it is absent. */
  readonly window?: number;
  /** global: by ropeTheta and ropeScaling · local: by localRopeTheta · none: positions are not told (SmolLM3). */
  readonly rope: "global" | "local" | "none";
}

/** A decoder, alone or beside an encoder: sizes and choices, everything that changes numbers. Units are elements. */
export interface DecoderSpec {
  readonly kind: "decoder";
  /** Hugging Face class of the language model, kept verbatim in the checkpoint's config. */
  readonly architecture: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly intermediateSize: number;
  readonly activation: "silu" | "gelu" | "gelu_tanh" | "relu";
  /** gated: down(act(gate(x)) · up(x)); fused: the same with gate and up in one product (Phi-3); plain: proj(act(fc(x))). */
  readonly mlp: "gated" | "fused" | "plain";
  readonly norm: "rms" | "layer";
  readonly normEps: number;
  /** The norm follows the residual sum and there is none at the end (OPT-350m). */
  readonly postNorm?: boolean;
  /** What attention and MLP give is normed too, before it is added to x (Gemma 2 and 3). */
  readonly outputNorms?: boolean;
  /** Queries and keys are normed head by head before they are rotated (Qwen3, Gemma 3). */
  readonly qkNorm?: boolean;
  /** Norms multiply by 1 + the stored weight; checkpoints hold the sum, as TensorRT-LLM's do (Gemma). */
  readonly normsStoredLessOne?: boolean;
  /** Word embeddings, and not visual features, are multiplied by it: √hidden (Gemma). */
  readonly embeddingScale?: number;
  /** Scores are divided by the root of it, of headDim where it is absent (Gemma 2 and 3). */
  readonly queryPreAttnScalar?: number;
  /** Scores become cap · tanh(score / cap) before the mask (Gemma 2). */
  readonly scoreCap?: number;
  /** The same of logits. */
  readonly logitCap?: number;
  /** relative: a learned bias on attention scores by distance (T5). */
  readonly positions: "rope" | "learned" | "relative";
  readonly maxPositions: number;
  readonly ropeTheta: number;
  readonly ropeScaling?: RopeScaling;
  /** Tokens a query sees, itself included, in every layer (Mistral 7B v0.1); all tokens before it without one. */
  readonly slidingWindow?: number;
  /** What each layer sees and how it counts, where layers differ; `slidingWindow` is absent then. */
  readonly layerKinds?: readonly LayerKind[];
  /** The base of layers with rope "local"; those have no scaling. */
  readonly localRopeTheta?: number;
  /**
   * What tokens see each other both ways: those of an image, as far as the layer's window goes back (Gemma 3), or all of a prompt, whatever
   * the window (PaliGemma).
   */
  readonly visualSpans?: "image" | "prompt";
  /** A token has a temporal, a vertical and a horizontal position, which share the pairs of channels (Qwen2-VL and later). */
  readonly mrope?: RopeSections;
  /** After each of so many first layers a row of a table of its own is added at the places of visual features (Qwen3-VL). */
  readonly deepstackLevels?: number;
  /** Channels of each head that are rotated, the first ones; all of them where it is absent (Phi-4-mini has ¾). */
  readonly rotaryDim?: number;
  readonly attentionBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  readonly tiedEmbeddings: boolean;
  /** Width of the stored word table where it is not hiddenSize: two projections widen it (OPT-350m). */
  readonly embeddingSize?: number;
}

/**
 * What a decoder that attends to an encoder has besides a DecoderSpec; both stacks share its width, norms, biases and
 * kinds of MLP and positions.
 */
export interface EncoderDecoderSpec {
  /** The text encoder; none where the decoder attends to an image encoder's features (Nougat). */
  readonly encoder?: EncoderSpec;
  /** Width of what the decoder attends to. */
  readonly encoderSize: number;
  /** Heads config.json gives the encoder, for TensorRT-LLM's config: Nougat's names some, and has no such encoder. */
  readonly encoderHeads: number;
  /** Buckets of distances that share a bias (positions "relative"). */
  readonly relative?: { readonly buckets: number; readonly maxDistance: number };
  /** Embeddings are multiplied by √hidden. */
  readonly embeddingScale: boolean;
  /** A norm follows the embeddings. */
  readonly embeddingNorm: boolean;
  /** A norm ends each stack. */
  readonly finalNorm: boolean;
  /** Scores are divided by √head_dim; T5 has that in its weights. */
  readonly scaledAttention: boolean;
  /** The last hidden state is multiplied by 1/√hidden before lm_head (T5 v1.0, whose lm_head is the embedding table). */
  readonly scaledLogits: boolean;
  /** First token of every answer, not counted as generated. */
  readonly decoderStartTokenId?: number;
  /** The first generated token, whatever the logits say (mBART's language). */
  readonly forcedBosTokenId?: number;
  /** The last token max_new_tokens allows, whatever the logits say (BART). */
  readonly forcedEosTokenId?: number;
}

/** Sizes of an encoder where they may differ from the decoder's. */
export interface EncoderSpec {
  readonly layers: number;
  readonly heads: number;
  readonly headDim: number;
  readonly intermediateSize: number;
}

/** A Swin transformer: attention in windows, every second block's shifted, patches merged 2 × 2 between stages. */
export interface SwinSpec {
  /** Height and width in pixels. */
  readonly imageSize: readonly [number, number];
  readonly patchSize: readonly [number, number];
  readonly channels: number;
  /** Width of the first stage; each further one doubles it. */
  readonly embedSize: number;
  /** Blocks, and attention heads, of each stage. */
  readonly depths: readonly number[];
  readonly heads: readonly number[];
  readonly windowSize: number;
  readonly mlpRatio: number;
  readonly qkvBias: boolean;
  readonly activation: "gelu" | "gelu_tanh" | "relu";
  readonly normEps: number;
  /** Width of the last stage, and rows of `output` an image gives. */
  readonly hiddenSize: number;
  readonly numVisualFeatures: number;
}

/** A ViT-like image encoder with its choice of output layer. */
export interface VisionSpec {
  readonly kind: "clip" | "siglip" | "siglip_normed" | "idefics3" | "eva" | "internvit";
  readonly imageSize: number;
  readonly patchSize: number;
  readonly channels: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly intermediateSize: number;
  readonly activation: "quick_gelu" | "gelu" | "gelu_tanh";
  readonly normEps: number;
  /** Encoder layers that run: `vision_feature_layer` −2 of 24 means 23; the others are never built. */
  readonly runLayers: number;
  /** Whether the first row, the class token's, is dropped ("default", "patch") or kept ("full", "cls_patch"). */
  readonly dropClassToken: boolean;
  /**
   * Rows of `output` that one item of the visual engine's batch gives, after Q-Former or projector: an image's, or a tile's where
   * `ModelSpec.visualTokens` cuts images.
   */
  readonly numVisualFeatures: number;
  /** false: the products of q, k and v have no bias (EVA towers, InternViT). */
  readonly qkvBias?: boolean;
  /** Layers have RMS norms (InternViT-6B); LayerNorms where it is absent. */
  readonly norm?: "rms";
  /** Queries and keys are normed whole, all heads together, by RMS (InternViT-6B). */
  readonly qkNorm?: boolean;
}

/** An image encoder of packed patches: as many as an image has, pictures one after the other; it ends in its own projector. */
export interface PackedVisionSpec {
  readonly kind: "qwen2_vl" | "qwen2_5_vl" | "qwen3_vl";
  readonly channels: number;
  /** Pixels of a patch along each edge, and its frames: an image is that many times the same. */
  readonly patchSize: number;
  readonly temporalPatchSize: number;
  /** Patches along each edge of a feature. */
  readonly mergeSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly intermediateSize: number;
  readonly activation: "quick_gelu" | "gelu" | "gelu_tanh" | "silu";
  /** Base of the rotary angles by row and column. */
  readonly ropeTheta: number;
  /** Width of a feature: the language model's. */
  readonly outputSize: number;
  /** Most layers see a window of so many features along each edge; those of `fullLayers` the whole picture. */
  readonly windows?: { readonly edge: number; readonly fullLayers: readonly number[] };
  /** Entries along each edge of a learned position table, which is stretched over a picture. */
  readonly tableSide?: number;
  /** Layers whose output has a projector too; the decoder's layers take theirs in the order of the encoder's. */
  readonly deepstackLayers?: readonly number[];
}

/** Learned queries that gather an image into a few rows (BLIP-2). */
export interface QFormerSpec {
  readonly queries: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly intermediateSize: number;
  readonly activation: "gelu" | "gelu_tanh" | "relu";
  readonly normEps: number;
  /** Every so many layers, from the first on, look at the image. */
  readonly crossAttentionFrequency: number;
  /** Width of the image's features. */
  readonly encoderSize: number;
}

/** What maps vision features to the language model's width. */
export interface ProjectorSpec {
  /**
   * linear: BLIP-2's one product · mlp2: LLaVA's two · mlp: `depth` products with activations between · mlp_downsample:
   * each 2 × 2 patches side by side, a norm, two products · shuffle_mlp2: the same of `fold` × `fold`, row by row (InternVL) ·
   * shuffle_linear: those without a norm, one product (Idefics3) · pool_linear: the mean of `fold` × `fold`, an RMS norm, one
   * product (Gemma 3) · identity: nothing.
   */
  readonly kind:
    | "linear"
    | "mlp2"
    | "mlp"
    | "mlp_downsample"
    | "shuffle_mlp2"
    | "shuffle_linear"
    | "pool_linear"
    | "identity";
  /** Stored name of a `linear`, where it is not BLIP-2's. */
  readonly name?: string;
  /** Of a `pool_linear`'s norm. */
  readonly normEps?: number;
  /** Patches along each edge that become one row. */
  readonly fold?: number;
  /** Products of an `mlp`. */
  readonly depth?: number;
  readonly inputSize: number;
  readonly hiddenSize: number;
  readonly outputSize: number;
  readonly activation: "gelu" | "gelu_tanh" | "relu";
  readonly bias: boolean;
}

/** Stands for an image among token ids where no token of the vocabulary does; LLaVA's own code uses the same number. */
export const IMAGE_PLACEHOLDER = -200;

/** How a question becomes the prompt where the checkpoint has no chat template: what the model was trained with. */
export interface PromptStyle {
  /** `{images}` becomes a placeholder and a line break for each image, `{question}` the question. */
  readonly template: string;
  /** Word that stands for an image in text, where no token of the vocabulary has its id. */
  readonly imageWord?: string;
  /** What an image is in the place of `{images}`, `{image}` being its placeholder; absent: that and a line break. */
  readonly picture?: string;
  /** Features come before everything, the begin token included, instead of where a placeholder stands. */
  readonly imagesFirst?: boolean;
}

/** Everything read from config.json, every key accounted for. */
export interface ModelSpec {
  /** Hugging Face class of the whole model. */
  readonly architecture: string;
  readonly modelType: string;
  /** dtype the checkpoint declares; undefined when it says nothing. */
  readonly declaredDtype: "float32" | "float16" | "bfloat16" | undefined;
  readonly language: DecoderSpec;
  /** There where `language` attends to an encoder. */
  readonly encoderDecoder?: EncoderDecoderSpec;
  readonly vision?: VisionSpec;
  /** The image encoder where it is a Swin; `vision` is absent then. */
  readonly swin?: SwinSpec;
  /** The image encoder where it takes packed patches; `vision` and `projector` are absent then. */
  readonly packedVision?: PackedVisionSpec;
  readonly qformer?: QFormerSpec;
  readonly projector?: ProjectorSpec;
  /**
   * Id of the placeholder that the processor repeats for each visual feature; the runtime replaces it by prompt-table
   * ids. IMAGE_PLACEHOLDER where the vocabulary has none.
   */
  readonly imageTokenId?: number;
  /** What an image brings, where that depends on the image; `visualTokensOf` has it for every family. */
  readonly visualTokens?: VisualTokenRule;
  readonly prompt?: PromptStyle;
  readonly bosTokenId?: number;
  readonly eosTokenIds: readonly number[];
  readonly padTokenId?: number;
}

/** Has an image encoder, of whatever kind. */
export function seesImages({ vision, swin, packedVision }: ModelSpec): boolean {
  return (vision ?? swin ?? packedVision) !== undefined;
}
