import { fail } from "../diagnostics/index.ts";
import type { LlmEngineConfig } from "../formats/engine-config.ts";
import { pieceLength } from "./pieces.ts";

/** How many tokens of its span are left at each token of a prompt, itself counted; 0 outside of spans. */
export type SpansLeft = readonly number[];

/**
 * What `visual_spans` is for prompts: tokens that see each other both ways are all of a prompt where the decoder says so, else those of an
 * image, ids from `vocab` on without a word between. Undefined for a decoder without the input.
 */
export function spansLeft(
  { io, spans }: Pick<LlmEngineConfig, "io" | "spans">,
  prompts: readonly (readonly number[])[],
  vocab: number,
): readonly SpansLeft[] | undefined {
  if (!io.some(({ name }) => name === "visual_spans")) return undefined;
  if (spans === "prompt") return prompts.map(ids => ids.map((_, i) => ids.length - i));
  return prompts.map(ids => {
    let left = 0;
    const backwards = ids.toReversed().map(id => {
      left = id >= vocab ? left + 1 : 0;
      return left;
    });
    return backwards.reverse();
  });
}

/** Whether token `index` and the one before it are of one span: a call that ends between them would hide one from the other. */
export function cutsSpan(left: SpansLeft | undefined, index: number): boolean {
  return left !== undefined && index > 0 && index < left.length && (left[index - 1] as number) > 1;
}

/**
 * Columns of the calls that take a prompt of so many, `most` at a time and fewer where a span would be cut. `cuts` tells for a column whether
 * a call may not begin there.
 * @throws MmtrtError RUN010 where a span, or spans of several rows that overlap, are longer than a call.
 */
export function pieceLengths(columns: number, most: number, cuts: (column: number) => boolean): readonly number[] {
  const lengths: number[] = [];
  for (let at = 0; at < columns; ) {
    let seq = pieceLength(columns - at, most);
    // A span may need the column that a single one behind it was to share.
    if (cuts(at + seq)) seq = Math.min(most, columns - at);
    while (seq > 0 && cuts(at + seq)) seq -= 1;
    if (seq === 0) spanTooLong(at, most);
    lengths.push(seq);
    at += seq;
  }
  return lengths;
}

function spanTooLong(at: number, most: number): never {
  return fail({
    code: "RUN010",
    what: `tokens from ${at + 1} of the prompt on see each other, more than the ${most} of a call; expected all of them in one`,
    at: "the prompts",
    why: "the engine takes a prompt in pieces, and tokens that came in two of them would not see each other",
    fix: "build with a larger --max_num_tokens, or without --use_paged_context_fmha; or ask for less at once",
  });
}
