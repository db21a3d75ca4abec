import { contextPiece } from "./paged-context.ts";
import type { Rule } from "./rule.ts";

/** Elements of a tensor that TensorRT takes at most: 2^40, as its builder says ("tensor volume exceeds 1099511627776"). */
const MAX_ELEMENTS = 2 ** 40;

/** What one call of a prefill may hold under paged context where no max_num_tokens was given: TensorRT-LLM's default. */
const USUAL_STEP = 8192;

/**
 * Advice: attention in standard operators has the scores of every new token with every cached one as a tensor,
 * [batch, heads, seq, total]; the attention plugin, where its library is loaded, has not. The builder looks at opt alone, so
 * that a larger request would fail when it comes.
 */
export const scoresFitTensor: Rule = ({ spec: { language, encoderDecoder }, checkpoint, build, origin }) => {
  if (build.backend === "onnxruntime" || encoderDecoder !== undefined || build.kv_cache_type === "paged")
    return undefined;
  const rows = build.max_batch_size * Math.ceil(language.heads / checkpoint.tpSize);
  const piece = contextPiece(build);
  const seq = piece ?? build.max_input_len;
  const total = build.kv_cache_type === "static" ? build.max_seq_len : build.max_input_len;
  const elements = rows * seq * total;
  if (elements <= MAX_ELEMENTS) return undefined;
  const fitting = Math.floor(MAX_ELEMENTS / (rows * total));
  const step = Math.min(USUAL_STEP, fitting) * build.max_batch_size;
  return {
    code: "BLD058",
    what: `the scores of a prompt's attention have ${rows} × ${seq} × ${total} elements; TensorRT takes tensors of at most 2^40`,
    at: origin(piece === undefined ? "max_input_len" : "max_num_tokens"),
    why: "every token of a step has a score for every token before it, in each head; only the attention plugin keeps no such tensor",
    fix: `--use_paged_context_fmha --max_num_tokens ${step}, which prefills a prompt in pieces`,
  };
};
