import type { CheckpointConfig, CheckpointLayout } from "../architecture.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec } from "../spec.ts";
import { classKeys, rotaryScaling, weightLayoutKey } from "./checkpoint-config.ts";
import type { LanguageFamily } from "./language.ts";
import { LLAMA } from "./llama-decoder.ts";
import { type LlamaHabits, type NestedDefaults, readLlamaDecoder } from "./llama-spec.ts";

interface GemmaHabits extends LlamaHabits {
  /** The model around it lets tokens of a prompt see each other both ways (PaliGemma). */
  readonly bothWays?: boolean;
}

/**
 * What all Gemmas are: LLaMA with word embeddings times √hidden, norms stored less one and one table for embeddings and
 * lm_head. √hidden is rounded to the model's dtype, as transformers rounds it.
 */
export function readGemmaDecoder(
  c: ConfigReader,
  nested: boolean,
  defaults: NestedDefaults,
  { bothWays = false, ...habits }: GemmaHabits = {},
): DecoderSpec {
  c.only(
    "use_bidirectional_attention",
    [bothWays],
    bothWays ? "tokens of a prompt see those after them" : "tokens would see those after them",
  );
  const spec = readLlamaDecoder(c, nested, defaults, { tied: true, ...habits });
  return { ...spec, normsStoredLessOne: true, embeddingScale: Math.sqrt(spec.hiddenSize) };
}

/** What Gemma 2 brought: norms of what is added too, scores over the root of a number of their own, capped logits. */
export function readGemma2Choices(c: ConfigReader, usualLogitCap?: number): Partial<DecoderSpec> {
  const logitCap = readCap(c, "final_logit_softcapping", usualLogitCap);
  return {
    outputNorms: true,
    queryPreAttnScalar: c.has("query_pre_attn_scalar") ? positive(c, "query_pre_attn_scalar") : 256,
    ...(logitCap !== undefined && { logitCap }),
  };
}

/** null is no cap; a missing key is `usual`. */
export function readCap(c: ConfigReader, key: string, usual: number | undefined): number | undefined {
  if (c.raw(key) === undefined) return usual;
  return c.has(key) ? positive(c, key) : undefined;
}

function positive(c: ConfigReader, key: string): number {
  const value = c.number(key);
  if (value > 0) return value;
  c.problem(
    "SPC002",
    key,
    `is ${value}; expected a positive number`,
    "scores and logits are divided by it or by its root",
    `give ${key} as it was trained`,
  );
  return 1;
}

export const GEMMA_BASE: Omit<LanguageFamily, "architecture" | "modelType" | "read"> = {
  ...LLAMA,
  config: gemmaConfig,
};

/**
 * As TensorRT-LLM's GemmaConfig dumps it. That class splits the word table wherever tp_size is more than 1, so for its
 * builder such checkpoints are converted with --use_parallel_embedding.
 */
export function gemmaConfig(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  return {
    ...classKeys(spec, layout, ["lm_head"]),
    rotary_base: spec.ropeTheta,
    rotary_scaling: rotaryScaling(spec),
    attn_bias: spec.attentionBias,
    mlp_bias: spec.mlpBias,
    inter_layernorms: spec.outputNorms === true,
    ...(spec.queryPreAttnScalar !== undefined && {
      query_pre_attn_scalar: spec.queryPreAttnScalar,
      final_logit_softcapping: spec.logitCap ?? null,
    }),
    ...weightLayoutKey(layout),
  };
}
