import type { Value } from "../../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../../graph/ops.ts";
import { type PromptTable, promptTuningEmbedding } from "../embedding.ts";
import { type FusedOp, fused, isHalf } from "./op.ts";

export const PROMPT_TUNING_EMBEDDING: FusedOp = {
  name: "PromptTuningEmbedding",
  version: "1",
  inputs: ["input_ids", "weight", "table", "tasks", "prompt_vocab_size"],
  outputs: ["y"],
};

/** promptTuningEmbedding of a word table that is whole on this rank. */
export function wholePromptTuningEmbedding(g: GraphBuilder, ids: Value, words: Value, prompt: PromptTable): Value {
  const vocab = dimOf(words, 0) as number;
  const width = dimOf(words, 1) as number;
  const standard = (b: GraphBuilder, input: Value, table: Value, from: PromptTable): Value =>
    promptTuningEmbedding(b, input, vocab, at => b.gather(table, at), from);
  // plugin.yaml: copies of 8 elements.
  if (!isHalf(words) || width % 8 !== 0) return standard(g, ids, words, prompt);
  const [y] =
    fused(g, PROMPT_TUNING_EMBEDDING, {
      inputs: {
        input_ids: ids,
        weight: words,
        table: prompt.table,
        tasks: prompt.tasks,
        prompt_vocab_size: prompt.vocabSize,
      },
      outputs: [{ dtype: words.dtype, shape: [...ids.shape, width] }],
      attributes: {},
      body: (b, inputs) => {
        const [input, weight, table, tasks, vocabSize] = PROMPT_TUNING_EMBEDDING.inputs.map(
          name => inputs[name] as Value,
        ) as [Value, Value, Value, Value, Value];
        return [standard(b, input, weight, { table, tasks, vocabSize })];
      },
    }) ?? [];
  return y ?? standard(g, ids, words, prompt);
}
