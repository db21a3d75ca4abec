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
    const problems: Problem[] = [];
    const read = new Map<string, ReferenceTensor>();
    for (const stored of tensors.values()) {
      const tensor = await readTensor(stored);
      if (tensor === undefined)
        problems.push(unusable(stored.at, `${stored.name} is ${stored.dtype}; expected float32 or int32`));
      else read.set(stored.name, tensor);
    }
    problems.push(...idProblems(file, read));
    throwIfAny(problems);
    const { image, question, prompt } = metadata;
    return { file, image: image && resolve(dirname(file), image), question, prompt, tensors: read };
  } finally {
    await pool.close();
  }
}

/** What makes a file a reference: the ids that its stages were computed from. */
function idProblems(file: string, read: ReadonlyMap<string, ReferenceTensor>): readonly Problem[] {
  const given = ["input_ids", "decoder_input_ids"].filter(name => read.has(name));
  if (given.length === 0) return [unusable(file, "has no input_ids and no decoder_input_ids")];
  return given
    .filter(name => !(read.get(name)?.data instanceof Int32Array) || read.get(name)?.data.length === 0)
    .map(name => unusable(file, `has ${name} that are not int32, or none; expected one id or more`));
}

async function readTensor({ dtype, shape, readRows }: StoredTensor): Promise<ReferenceTensor | undefined> {
  if (dtype !== "float32" && dtype !== "int32") return undefined;
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
