/** Copies of one block that make an answer a repetition, and tokens they must have together: a table may repeat a cell. */
const COPIES = 4;
const TOKENS = 64;
/** Longest block looked for: about 15 lines of text. */
const MAX_BLOCK = 512;

/**
 * Whether the answer ends in at least COPIES copies of one block, TOKENS long together. Looking is cheap: most blocks
 * differ from the one before in their last token.
 */
export function isRepeating(tokens: readonly number[]): boolean {
  const last = tokens.length - 1;
  for (let block = 1; block <= Math.min(MAX_BLOCK, Math.floor(tokens.length / COPIES)); block++) {
    const needed = Math.max(TOKENS, COPIES * block);
    if (needed > tokens.length) continue;
    let same = 0;
    while (same < needed - block && tokens[last - same] === tokens[last - same - block]) same++;
    if (same === needed - block) return true;
  }
  return false;
}
