import type { Problem } from "../diagnostics/index.ts";
import { featureRange } from "../models/parts/visual-tokens.ts";
import type { DecoderSpec } from "../models/spec.ts";
import type { Rule } from "./rule.ts";

/** A prompt template with a short question: "USER: …? ASSISTANT:" is about 20 tokens. */
export const USUAL_TEXT_TOKENS = 32;

/**
 * Positions that numbers were trained for: TensorRT-LLM's max_position_embeddings × rotary factor. llama3 and longrope
 * state the stretched length in max_position_embeddings itself; of yarn some do (Yarn-Llama-2) and some do not (Qwen2.5).
 */
export function trainedPositions({ maxPositions, ropeScaling: scaling }: DecoderSpec): number {
  if (scaling === undefined || scaling.type === "longrope" || scaling.type === "llama3") return maxPositions;
  if (scaling.type !== "yarn") return Math.floor(maxPositions * scaling.factor);
  const original = scaling.parameters.original_max_position_embeddings as number;
  return Math.max(maxPositions, Math.floor(original * scaling.factor));
}

export const inputFitsSequence: Rule = ({ spec, build: { max_input_len, max_seq_len }, origin }) =>
  // An encoder-decoder's prompt is the encoder's, and the sequence the decoder's.
  max_input_len <= max_seq_len || spec.encoderDecoder !== undefined
    ? undefined
    : {
        code: "BLD010",
        what: `max_input_len ${max_input_len} is larger than max_seq_len ${max_seq_len}`,
        at: origin("max_input_len"),
        why: "max_seq_len counts the prompt and all that is generated after it",
        fix: `--max_seq_len ${max_input_len + 1} or more, or --max_input_len ${max_seq_len} or less`,
      };

/** Errors for learned positions, whose table ends; rotary positions are `positionsWereTrained`. */
export const positionsExist: Rule = context => {
  const { spec, build, origin } = context;
  const positions = trainedPositions(spec.language);
  if (spec.language.positions !== "learned" || build.max_seq_len <= positions) return undefined;
  return {
    code: "BLD012",
    what: `max_seq_len ${build.max_seq_len} is larger than the ${positions} positions of the model`,
    at: origin("max_seq_len"),
    why: "the table of learned positions has no row for a later token",
    fix: `--max_seq_len ${positions} or less`,
  };
};

/** The same for an encoder that reads prompts. */
export const encoderPositionsExist: Rule = ({ spec, build: { max_encoder_input_len: length }, origin, given }) => {
  const { maxPositions: positions, positions: kind } = spec.language;
  if (spec.encoderDecoder?.encoder === undefined || kind !== "learned" || length <= positions) return undefined;
  const key = given("max_encoder_input_len") ? "max_encoder_input_len" : "max_input_len";
  return {
    code: "BLD052",
    what: `max_encoder_input_len ${length} is larger than the ${positions} positions of the encoder`,
    at: origin(key),
    why: "the table of learned positions has no row for a later token",
    fix: `--${key} ${positions} or less`,
  };
};

/** Advice. Computable, but never seen in training. */
export const positionsWereTrained: Rule = ({ spec: { language }, build: { max_seq_len }, origin }) => {
  const positions = trainedPositions(language);
  if (language.positions !== "rope" || max_seq_len <= positions) return undefined;
  const stretched = positions === language.maxPositions ? "" : ` (${language.maxPositions} × rope_scaling factor)`;
  return {
    code: "BLD012",
    what: `max_seq_len ${max_seq_len} is larger than the ${positions} positions the model was trained for${stretched}`,
    at: origin("max_seq_len"),
    why: "rotary angles of later positions were never seen in training, so text past them gets worse",
    fix: `--max_seq_len ${positions}, unless longer sequences were tried with this model`,
  };
};

export const promptHoldsImage: Rule = ({ spec, build, origin }) => {
  const { leastTokens, mostTokens } = featureRange(spec);
  const key = spec.encoderDecoder === undefined ? "max_input_len" : "max_encoder_input_len";
  const length = build[key];
  if (leastTokens === 0 || length > leastTokens) return undefined;
  const any = leastTokens === mostTokens;
  const image = any ? `an image of ${leastTokens} visual features` : `the smallest image, ${leastTokens} tokens,`;
  return {
    code: "BLD011",
    what: `${key} ${length} does not hold ${image} and text`,
    at: origin(key),
    why: `visual features count as prompt tokens: ${leastTokens} for the image, then the question`,
    fix: `--${key} ${leastTokens + USUAL_TEXT_TOKENS} or more${any ? "" : `; ${mostTokens + USUAL_TEXT_TOKENS} for every image`}`,
  };
};

/** Advice. */
export const promptHoldsText: Rule = ({ spec, build: { max_input_len }, origin }) => {
  const { least: features, leastTokens, mostTokens } = featureRange(spec);
  const text = max_input_len - features;
  // Where images differ, `everyImageFits` counts the text too.
  if (features === 0 || leastTokens !== mostTokens || text <= 0 || text >= USUAL_TEXT_TOKENS) return undefined;
  return {
    code: "BLD013",
    what: `max_input_len ${max_input_len} leaves ${text} tokens for text beside ${features} visual features`,
    at: origin("max_input_len"),
    why: "the prompt template takes about 20 tokens before the question, and a longer prompt is refused at run time",
    fix: `--max_input_len ${features + USUAL_TEXT_TOKENS} or more`,
  };
};

/** Advice, for two numbers that were both chosen: as long as the positions allow is what a default means. */
export const answerHasRoom: Rule = ({ build: { max_input_len, max_seq_len }, origin, given }) =>
  max_input_len !== max_seq_len || !given("max_input_len") || !given("max_seq_len")
    ? undefined
    : {
        code: "BLD018",
        what: `max_input_len and max_seq_len are both ${max_seq_len}`,
        at: origin("max_input_len"),
        why: "a prompt of full length would get a single token of answer",
        fix: `lower --max_input_len, or --max_seq_len ${max_seq_len + 128} where the model has the positions`,
      };

export const stepHoldsPrompt: Rule = ({ spec, build, origin }) => {
  const { max_num_tokens, max_input_len, use_paged_context_fmha } = build;
  if (use_paged_context_fmha || max_num_tokens === undefined || max_num_tokens >= max_input_len) return undefined;
  const pieces = spec.encoderDecoder === undefined ? ", or --use_paged_context_fmha, which runs it in pieces" : "";
  return {
    code: "BLD016",
    what: `max_num_tokens ${max_num_tokens} is smaller than max_input_len ${max_input_len}`,
    at: origin("max_num_tokens"),
    why: "a prompt is prefilled in one step, so a step must hold the longest one",
    fix: `--max_num_tokens ${max_input_len} or more, --max_input_len ${max_num_tokens} or less${pieces}`,
  };
};

type OptKey = "opt_num_tokens" | "opt_batch_size" | "opt_input_len" | "opt_seq_len";
type LimitKey = "max_num_tokens" | "max_batch_size" | "max_input_len" | "max_seq_len";

function optWithin(opt: OptKey, limit: LimitKey): Rule {
  return ({ build, origin }): Problem | undefined => {
    const wanted = build[opt];
    const most = build[limit];
    if (wanted === undefined || most === undefined || wanted <= most) return undefined;
    return {
      code: "BLD017",
      what: `${opt} ${wanted} is larger than ${limit} ${most}`,
      at: origin(opt),
      why: "TensorRT chooses kernels for the opt point, which must lie within the profile",
      fix: `--${opt} ${most} or less, or --${limit} ${wanted} or more`,
    };
  };
}

export const optTokensWithinStep: Rule = optWithin("opt_num_tokens", "max_num_tokens");
export const optBatchWithinBatch: Rule = optWithin("opt_batch_size", "max_batch_size");
export const optInputWithinInput: Rule = optWithin("opt_input_len", "max_input_len");
export const optSequenceWithinSequence: Rule = optWithin("opt_seq_len", "max_seq_len");

export const oneWayToChooseOpt: Rule = ({ build: { multiple_profiles, opt_num_tokens }, origin }) =>
  !multiple_profiles || opt_num_tokens === undefined
    ? undefined
    : {
        code: "BLD019",
        what: `multiple_profiles is on and opt_num_tokens is ${opt_num_tokens}`,
        at: origin("opt_num_tokens"),
        why: "with multiple_profiles every token range has an opt point of its own",
        fix: "leave out --opt_num_tokens, or --multiple_profiles disable",
      };
