import type { ByteRange } from "./stored.ts";

/**
 * Bytes [start, end) of the sequence that `ranges` spell one after the other. Ranges that touch in the file are
 * merged, so that q, k and v of one shard, stored side by side, become a single copy.
 */
export function cutRanges(ranges: readonly ByteRange[], start: number, end: number): ByteRange[] {
  const cut: ByteRange[] = [];
  let at = 0;
  for (const range of ranges) {
    const from = Math.max(start, at);
    const to = Math.min(end, at + range.length);
    if (from < to) cut.push({ file: range.file, offset: range.offset + from - at, length: to - from });
    at += range.length;
  }
  return cut;
}

/** The ranges of several recipes in a row, or undefined as soon as one of them has to be computed. */
export function joinRanges(parts: readonly (readonly ByteRange[] | undefined)[]): ByteRange[] | undefined {
  const joined: ByteRange[] = [];
  for (const ranges of parts) {
    if (ranges === undefined) return undefined;
    for (const range of ranges) {
      const last = joined.at(-1);
      if (last !== undefined && last.file === range.file && last.offset + last.length === range.offset) {
        joined[joined.length - 1] = { ...last, length: last.length + range.length };
      } else if (range.length > 0) joined.push(range);
    }
  }
  return joined;
}
