import type { StoredTensor } from "../../tensor/index.ts";
import type { FilePool } from "../file.ts";
import { plainTensor } from "../stored.ts";
import { readHeader } from "./header.ts";

export interface Safetensors {
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Reads the header alone; bytes are read through `pool` when asked for. Errors: CKP001–CKP006, CKP008, CKP010, CKP011. */
export async function openSafetensors(pool: FilePool, path: string): Promise<Safetensors> {
  const file = await pool.open(path);
  const { entries, metadata } = await readHeader(file);
  const tensors = new Map<string, StoredTensor>();
  for (const { name, dtype, shape, offset, length } of entries.values()) {
    tensors.set(name, plainTensor(file, name, dtype, shape, { file: path, offset, length }));
  }
  return { tensors, metadata };
}
