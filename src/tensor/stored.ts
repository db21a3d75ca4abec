import type { Problem } from "../diagnostics/index.ts";
import type { Dtype } from "./dtype.ts";
import type { Shape } from "./shape.ts";

/** A run of bytes in a file whose layout is exactly that of the tensor, row-major and little-endian. */
export interface ByteRange {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * A tensor of a source checkpoint, known by its header alone.
 * `readRows(start, end)` gives rows [start, end) of axis 0 (a scalar is one row) as row-major little-endian bytes
 * of `dtype`; `range` is there when the file holds just those bytes, so that whole tensors can be copied unread.
 */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: Shape;
  /** `file` and byte offset for messages, present also when the bytes need decoding (GGUF blocks, strided pickles). */
  readonly at: string;
  readonly range?: ByteRange;
  readRows(start: number, end: number): Promise<Uint8Array>;
}

/** A checkpoint directory opened: config read, headers read, no tensor bytes. */
export interface HfCheckpoint {
  readonly dir: string;
  readonly format: "safetensors" | "torch" | "meta" | "gguf";
  /** config.json parsed (for Meta and GGUF: the equivalent Hugging Face config, made from params.json or the metadata). */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Tokenizer, processor and generation files beside the weights, by name relative to `dir`. */
  readonly extraFiles: readonly string[];
  /** Files that the source has in another form, made from it: a GGUF's tokenizer as tokenizer.json. Name → text. */
  readonly generatedFiles: ReadonlyMap<string, string>;
  /** What does not stop a conversion but should be said (a shard nobody names, a tokenizer that cannot be rebuilt). */
  readonly warnings: readonly Problem[];
  /** Every file the tensors come from, for hashes and sizes. */
  readonly weightFiles: readonly string[];
  /** CKP065 for each of them that is another than the one that was opened. */
  changed(): Promise<readonly Problem[]>;
  close(): Promise<void>;
}

/** A checkpoint whose files somebody else holds open. */
export type OpenedModel = Omit<HfCheckpoint, "changed" | "close">;
