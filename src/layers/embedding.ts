import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import { allGather, allReduce, type TpGroup } from "./collective.ts";
import type { WeightSource } from "./weights.ts";

/** The prompt-table inputs: rows of visual features, [batch, 1] task of each item, [1] rows a task has. */
export interface PromptTable {
  readonly table: Value;
  readonly tasks: Value;
  readonly vocabSize: Value;
}

/** Where the rows of an item begin. */
type TaskRows = Omit<PromptTable, "table">;

/** A table [rows, width] of the checkpoint, and how it is dealt out (--use_parallel_embedding). */
export interface Table {
  readonly name: string;
  readonly rows: number;
  readonly width: number;
  /** undefined: whole on every rank · 0: rows are split, the last rank's padded · 1: columns. */
  readonly split: 0 | 1 | undefined;
}

/** Rows of a table: ids int32 [batch, seq], below `rows` or not looked at → [batch, seq, width], the same on every rank. */
export function lookUp(g: GraphBuilder, w: WeightSource, table: Table, ids: Value, group: TpGroup): Value {
  const { name, rows, width } = table;
  if (group.size === 1 || table.split === undefined) return g.gather(w.get(g, name, [rows, width]), ids);
  if (table.split === 1) return allGather(g, g.gather(w.get(g, name, [rows, width / group.size]), ids), group);
  const share = Math.ceil(rows / group.size);
  const local = g.subtract(ids, g.int32(group.index * share));
  const isOwn = g.and(g.lessOrEqual(g.int32(0), local), g.less(local, g.int32(share)));
  // Rows of other ranks count as zero, and one rank's sum has the row.
  const own = g.gather(w.get(g, name, [share, width]), g.where(isOwn, local, g.int32(0)));
  return allReduce(g, g.where(g.unsqueeze(isOwn, [2]), own, g.scalar(0, own.dtype)), group);
}

/**
 * TensorRT-LLM's PromptTuningEmbedding: ids below `vocab` are rows of the word table, an id beyond is row
 * (id − vocab) + task · prompt_vocab_size of the prompt table. ids int32 [batch, seq] → [batch, seq, hidden].
 */
export function promptTuningEmbedding(
  g: GraphBuilder,
  ids: Value,
  vocabSize: number,
  words: (ids: Value) => Value,
  prompt: PromptTable,
): Value {
  const vocab = g.int32(vocabSize);
  const zero = g.int32(0);
  const isWord = g.less(ids, vocab);
  // Both look-ups run for every token, so the unused one reads row 0 instead of a row that is not there.
  const word = words(g.where(isWord, ids, zero));
  const visual = g.gather(prompt.table, promptRow(g, ids, isWord, vocabSize, prompt));
  return g.where(g.unsqueeze(isWord, [2]), word, visual);
}

/** The row of the prompt table that an id is, 0 for words: int32 [batch, seq]. */
function promptRow(g: GraphBuilder, ids: Value, isWord: Value, vocabSize: number, prompt: TaskRows): Value {
  const row = g.add(g.subtract(ids, g.int32(vocabSize)), g.multiply(prompt.tasks, prompt.vocabSize));
  return g.where(isWord, g.int32(0), row);
}

/**
 * What is added to the hidden states behind each of the first layers (DeepStack): of `table` [levels, rows, hidden] the rows that the ids
 * are in the prompt table, zeros for words; each [batch, seq, hidden].
 */
export function deepstackRows(
  g: GraphBuilder,
  ids: Value,
  vocabSize: number,
  table: Value,
  prompt: TaskRows,
): readonly Value[] {
  const isWord = g.less(ids, g.int32(vocabSize));
  const row = promptRow(g, ids, isWord, vocabSize, prompt);
  const hidden = g.unsqueeze(isWord, [2]);
  return Array.from({ length: dimOf(table, 0) as number }, (_, level) =>
    g.where(hidden, g.scalar(0, table.dtype), g.gather(g.gather(table, g.int32(level)), row)),
  );
}
