import { dirname, resolve } from "node:path";
import { fail, type Problem, throwIfAny } from "../diagnostics/index.ts";
import { FilePool } from "../formats/file.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import type { Shape, StoredTensor } from "../tensor/index.ts";

export interface ReferenceTensor {
  readonly shape: Shape;
  readonly data: Float32Array | Int32Array;
}

/** What a reference program computed for one request (test/reference/make_llava_reference.py, make_pair_reference.py). */
export interface Reference {
  readonly file: string;
  /** Absolute. */
  readonly image: string | undefined;
  readonly question: string | undefined;
  readonly prompt: string | undefined;
  readonly tensors: ReadonlyMap<string, ReferenceTensor>;
}

/** Stages of one request are a few hundred MB at most; a larger file is something else. */
const MAX_BYTES = 4 * 2 ** 30;

/**
 * Reads all tensors, float32 and int32.
 * @throws MmtrtError NUM004 without input_ids and decoder_input_ids, or with tensors of other types; CKP… for the file.
 */
export async function readReference(file: string): Promise<Reference> {
  const pool = new FilePool();
  try {
    const { size } = await pool.open(file);
    if (size > MAX_BYTES) fail(unusable(file, `has ${size} bytes; expected at most ${MAX_BYTES}`));
    const { tensors, metadata } = await openSafetensors(pool, file);
    throwIfAny(headerProblems(file, tensors));
    const read = new Map<string, ReferenceTensor>();
    for (const stored of tensors.values()) read.set(stored.name, await readTensor(stored));
    const { image, question, prompt } = metadata;
    return { file, image: image && resolve(dirname(file), image), question, prompt, tensors: read };
  } finally {
    await pool.close();
  }
}

/** What makes a file a reference: the ids that its stages were computed from, and numbers of two kinds. */
function headerProblems(file: string, tensors: ReadonlyMap<string, StoredTensor>): readonly Problem[] {
  const ids = ["input_ids", "decoder_input_ids"].flatMap(name => tensors.get(name) ?? []);
  if (ids.length === 0) return [unusable(file, "has no input_ids and no decoder_input_ids")];
  const bad = ids.filter(({ dtype, shape }) => dtype !== "int32" || shape.includes(0));
  const other = [...tensors.values()].filter(({ dtype }) => dtype !== "float32" && dtype !== "int32");
  const [first] = other;
  const rest = other.length > 1 ? ` and ${other.length - 1} more` : "";
  return [
    ...bad.map(({ name, dtype, shape }) =>
      unusable(file, `has ${name} of ${dtype} [${shape.join(", ")}]; expected one int32 id or more`),
    ),
    ...(first === undefined
      ? []
      : [unusable(first.at, `is ${first.dtype} in ${first.name}${rest}; expected float32 or int32`)]),
  ];
}

async function readTensor({ dtype, shape, readRows }: StoredTensor): Promise<ReferenceTensor> {
  const { buffer, byteOffset, byteLength } = await readRows(0, shape[0] ?? 1);
  const length = byteLength / 4;
  const data =
    dtype === "float32" ? new Float32Array(buffer, byteOffset, length) : new Int32Array(buffer, byteOffset, length);
  return { shape, data };
}

export function unusable(at: string, reason: string): Problem {
  return {
    code: "NUM004",
    what: `the reference ${at} ${reason}`,
    at,
    why: "stages are compared element by element with what the reference program computed for the same model",
    fix: "make it again from the checkpoint that was converted: test/reference/make_llava_reference.py, of encoder-decoders make_pair_reference.py",
  };
}
