import type { EngineIo } from "../formats/engine-config.ts";
import type { PatchGrid } from "../vision/index.ts";
import { type Feeds, fromFloat32, type OrtGraph } from "./ort.ts";

/** Visual features of all images of a batch, one after the other: the rows of the prompt table. */
export interface Features {
  readonly rows: number;
  /** Elements of a row: the language model's hidden size. */
  readonly hidden: number;
  /** rows × hidden. */
  readonly values: Float32Array;
  /** Rows of each image, where they differ; absent: all have as many. */
  readonly imageRows?: readonly number[];
  /** Features of each image in its own order, where their places are positions of the language model: frames, rows, columns. */
  readonly grids?: readonly PatchGrid[];
  /** SHA-256 of each image's pixels, where prefixes are reused. */
  readonly hashes?: readonly string[];
}

/**
 * The prompt-table inputs, for as many rows as there are: beams multiply them. Without images the table is one row nobody
 * reads. `featuresPerImage` is what a task has; any value will do while every task is 0.
 */
export function tableFeeds(
  graph: OrtGraph,
  all: readonly EngineIo[],
  featuresPerImage: number,
  table: Features | undefined,
): (rows: number) => Feeds {
  const io = tableIo(all);
  if (io === undefined) return () => ({});
  const width = io.shape[1] ?? 1;
  const { rows, hidden, values } = table ?? { rows: 1, hidden: width, values: new Float32Array(width) };
  const embeddings = fromFloat32(graph, io.dtype, values, [rows, hidden]);
  const vocab = graph.tensor("int32", Int32Array.of(Math.max(1, featuresPerImage)), [1]);
  return batch => ({
    prompt_embedding_table: embeddings,
    prompt_vocab_size: vocab,
    tasks: graph.tensor("int32", new Int32Array(batch), [batch, 1]),
  });
}

export function tableIo(io: readonly EngineIo[]): EngineIo | undefined {
  return io.find(value => value.name === "prompt_embedding_table");
}
