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
  /** What is added behind each of the first layers: levels × rows × hidden (Qwen3-VL). */
  readonly deepstack?: Float32Array;
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
  const deepstack = deepstackFeeds(graph, all, { rows, hidden, ...(table?.deepstack && { values: table.deepstack }) });
  const vocab = graph.tensor("int32", Int32Array.of(Math.max(1, featuresPerImage)), [1]);
  return batch => ({
    prompt_embedding_table: embeddings,
    ...deepstack,
    prompt_vocab_size: vocab,
    tasks: graph.tensor("int32", new Int32Array(batch), [batch, 1]),
  });
}

/** Zeros for features that came without. */
function deepstackFeeds(
  graph: OrtGraph,
  all: readonly EngineIo[],
  { rows, hidden, values }: { readonly rows: number; readonly hidden: number; readonly values?: Float32Array },
): Feeds {
  const io = all.find(({ name }) => name === "deepstack_table");
  if (io === undefined) return {};
  const levels = io.shape[0] ?? 0;
  const added = values ?? new Float32Array(levels * rows * hidden);
  return { deepstack_table: fromFloat32(graph, io.dtype, added, [levels, rows, hidden]) };
}

/** Features of several images, or calls, one after the other; levels of each are joined. */
export function joinFeatures(parts: readonly Features[]): Features {
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return only;
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  const hidden = only?.hidden ?? 0;
  const values = concatenate(parts.map(part => part.values));
  const grids = parts.flatMap(part => part.grids ?? []);
  const imageRows = parts.flatMap(part => part.imageRows ?? [part.rows]);
  const levels = only?.deepstack === undefined ? 0 : only.deepstack.length / only.values.length;
  const level = (part: Features, i: number): Float32Array =>
    part.deepstack?.subarray(i * part.values.length, (i + 1) * part.values.length) ?? new Float32Array(0);
  const deepstack = concatenate(Array.from({ length: levels }, (_, i) => parts.map(part => level(part, i))).flat());
  return { rows, hidden, values, imageRows, ...(grids.length > 0 && { grids }), ...(levels > 0 && { deepstack }) };
}

export function concatenate(chunks: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}

export function tableIo(io: readonly EngineIo[]): EngineIo | undefined {
  return io.find(value => value.name === "prompt_embedding_table");
}
