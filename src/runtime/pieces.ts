import type { Problem } from "../diagnostics/index.ts";
import type { LlmEngineConfig } from "../formats/engine-config.ts";

/** New tokens of each row in one call, and those before them in the cache. */
export interface PromptCall {
  readonly seq: number;
  readonly past: number;
}

/** Most tokens of a row in one call: without --use_paged_context_fmha no profile takes a prompt's second piece. */
export function longestPiece({ profiles, build_config }: LlmEngineConfig): number {
  if (build_config.plugin_config.use_paged_context_fmha !== true) return Number.POSITIVE_INFINITY;
  const contexts = profiles.filter(({ name }) => name.startsWith("context"));
  return Math.max(1, ...contexts.map(({ sizes }) => sizes.seq?.max ?? 1));
}

/** The first and the last call of a prompt in pieces of at most `piece` tokens: what lies between is smaller than one of them. */
export function promptCalls(tokens: number, piece: number): readonly PromptCall[] {
  const seq = Math.min(tokens, piece);
  const past = Math.floor((tokens - 1) / seq) * seq;
  const first = { seq, past: 0 };
  return past === 0 ? [first] : [first, { seq: tokens - past, past }];
}

/** A prompt in pieces passes every profile piece by piece, however long it is. */
export function checkPromptLength(config: LlmEngineConfig, tokens: number, at: string): readonly Problem[] {
  const most = config.build_config.max_input_len;
  const piece = longestPiece(config);
  if (!Number.isFinite(piece) || tokens <= most) return [];
  return [
    {
      code: "RUN010",
      what: `the prompt has ${tokens} tokens; the engine takes 1 to ${most}, at most ${piece} at once`,
      at,
      why: "keys of a prompt's earlier pieces are kept for max_input_len tokens",
      fix: `build with --max_input_len ${tokens} or more, or ask for less at once`,
    },
  ];
}

/**
 * Columns of the next call, so that none is left over by itself: ONNX Runtime multiplies one row of numbers by another
 * kernel than several, which adds up in another order. Nearly all differences between a prompt in pieces and one in a
 * single call, in their last digits, come from that.
 */
export function pieceLength(left: number, piece: number): number {
  const seq = Math.min(piece, left);
  return left - seq === 1 && seq > 2 ? seq - 1 : seq;
}
