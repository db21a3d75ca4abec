import { featureRange } from "../models/parts/visual-tokens.ts";
import type { RopeScaling } from "../models/spec.ts";
import type { BuildSettings, Rule } from "./rule.ts";

type Limits = Pick<BuildSettings, "use_paged_context_fmha" | "max_num_tokens" | "max_batch_size" | "max_input_len">;

/**
 * Most tokens of each sequence in one call of a prefill that may come in pieces: a full batch of them is max_num_tokens.
 * Undefined where a prompt is prefilled whole.
 */
export function contextPiece({
  use_paged_context_fmha,
  max_num_tokens,
  max_batch_size,
  max_input_len,
}: Limits): number | undefined {
  if (!use_paged_context_fmha) return undefined;
  if (max_num_tokens === undefined) return max_input_len;
  return Math.max(1, Math.min(max_input_len, Math.floor(max_num_tokens / max_batch_size)));
}

export const pagedStepHoldsBatch: Rule = ({ build, origin }) => {
  const { use_paged_context_fmha, max_num_tokens, max_batch_size, max_beam_width } = build;
  const rows = max_batch_size * max_beam_width;
  if (!use_paged_context_fmha || max_num_tokens === undefined || max_num_tokens >= rows) return undefined;
  return {
    code: "BLD055",
    what: `max_num_tokens ${max_num_tokens} is smaller than max_batch_size ${max_batch_size} × max_beam_width ${max_beam_width} = ${rows}`,
    at: origin("max_num_tokens"),
    why: "a step has at least one token of each sequence, and in generation one of each beam",
    fix: `--max_num_tokens ${rows} or more, or a smaller batch`,
  };
};

export const pagedContextIsDecoders: Rule = ({ spec, build: { use_paged_context_fmha }, origin }) =>
  !use_paged_context_fmha || spec.encoderDecoder === undefined
    ? undefined
    : {
        code: "BLD056",
        what: `use_paged_context_fmha with ${spec.architecture}, an encoder-decoder`,
        at: origin("use_paged_context_fmha"),
        why: "its prompt goes through the encoder, where every token sees those after it; the decoder's prefill is one token",
        fix: "--use_paged_context_fmha disable",
      };

export const pagedContextKeepsAngles: Rule = ({ spec: { language }, build, origin }) => {
  const { ropeScaling: scaling, maxPositions } = language;
  const trained = scaling === undefined ? undefined : trainedLength(scaling, maxPositions);
  if (!build.use_paged_context_fmha || scaling === undefined || trained === undefined) return undefined;
  if (build.max_input_len <= trained) return undefined;
  return {
    code: "BLD057",
    what: `use_paged_context_fmha with rope type ${scaling.type} and max_input_len ${build.max_input_len}, beyond the ${trained} tokens it was trained for`,
    at: origin("use_paged_context_fmha"),
    why: "its angles depend on the length of the whole prompt, which a prompt's first piece does not know, nor a later prompt that begins alike",
    fix: `--max_input_len ${trained} or less, or --use_paged_context_fmha disable`,
  };
};

/** Up to where the angles of a prompt's tokens do not depend on how many there are; undefined where they never do. */
function trainedLength({ type, parameters }: RopeScaling, maxPositions: number): number | undefined {
  if (type === "dynamic") return maxPositions;
  if (type !== "longrope") return undefined;
  const { original_max_position_embeddings: original } = parameters;
  return typeof original === "number" ? original : maxPositions;
}

export const pagedContextHoldsSpan: Rule = ({ spec, build, origin }) => {
  const { visualSpans } = spec.language;
  const piece = contextPiece(build);
  if (piece === undefined || visualSpans === undefined) return undefined;
  if (visualSpans === "image" && build.max_multimodal_len === 0) return undefined;
  const tokens = visualSpans === "image" ? featureRange(spec).most : build.max_input_len;
  if (piece >= tokens) return undefined;
  const [whole, long] = visualSpans === "image" ? ["an image", "of an image"] : ["a prompt", "that one may have"];
  return {
    code: "BLD059",
    what: `a prompt's pieces have ${piece} tokens, fewer than the ${tokens} ${long}`,
    at: origin("max_num_tokens"),
    why: `tokens of ${whole} of ${spec.architecture} see those after them, so all of them are in one call`,
    fix: `--max_num_tokens ${tokens * build.max_batch_size} or more, or --use_paged_context_fmha disable`,
  };
};

export const optInputWithinPiece: Rule = ({ build, origin }) => {
  const piece = contextPiece(build);
  const { opt_input_len: opt, max_batch_size, max_num_tokens, max_input_len } = build;
  if (piece === undefined || opt === undefined || opt <= piece || opt > max_input_len) return undefined;
  return {
    code: "BLD017",
    what: `opt_input_len ${opt} is larger than a prompt's pieces of ${piece} tokens`,
    at: origin("opt_input_len"),
    why: `with use_paged_context_fmha a call holds max_num_tokens ${max_num_tokens} / max_batch_size ${max_batch_size} tokens of each prompt`,
    fix: `--opt_input_len ${piece} or less, or --max_num_tokens ${opt * max_batch_size} or more`,
  };
};
