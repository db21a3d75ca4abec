import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";

/** The prompt-table inputs: rows of visual features, [batch, 1] task of each item, [1] rows a task has. */
export interface PromptTable {
  readonly table: Value;
  readonly tasks: Value;
  readonly vocabSize: Value;
}

/**
 * TensorRT-LLM's PromptTuningEmbedding: ids below `vocab` are rows of the word table, an id beyond is row
 * (id − vocab) + task · prompt_vocab_size of the prompt table. ids int32 [batch, seq] → [batch, seq, hidden].
 */
export function promptTuningEmbedding(g: GraphBuilder, ids: Value, words: Value, prompt: PromptTable): Value {
  const vocab = g.int32(dimOf(words, 0) as number);
  const zero = g.int32(0);
  const isWord = g.less(ids, vocab);
  // Both look-ups run for every token, so the unused one reads row 0 instead of a row that is not there.
  const word = g.gather(words, g.where(isWord, ids, zero));
  const row = g.add(g.subtract(ids, vocab), g.multiply(prompt.tasks, prompt.vocabSize));
  const visual = g.gather(prompt.table, g.where(isWord, zero, row));
  return g.where(g.unsqueeze(isWord, [2]), word, visual);
}
