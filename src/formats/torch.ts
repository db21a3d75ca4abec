import { type Problem, throwIfAny } from "../diagnostics/index.ts";
import { DTYPES, elementCount, type StoredTensor, showShape } from "../tensor/index.ts";
import type { FilePool, SourceFile } from "./file.ts";
import { plainTensor } from "./stored.ts";
import { bytesOf, openTorchFile, type TorchFile } from "./torch/container.ts";
import { flattenTensors } from "./torch/flatten.ts";
import type { TensorRef } from "./torch/objects.ts";
import { isContiguous, stridedTensor } from "./torch/strided.ts";

const MAX_PROBLEMS = 20;

/**
 * The tensors of a PyTorch .bin, .pt or .pth file by name. The pickle inside is read by an interpreter that knows
 * tensors and plain data only: nothing of the file is ever executed. Errors: CKP001–CKP005, CKP012–CKP015, CKP024.
 */
export async function openTorch(pool: FilePool, path: string): Promise<ReadonlyMap<string, StoredTensor>> {
  const file = await pool.open(path);
  const torch = await openTorchFile(file);
  const tensors = new Map<string, StoredTensor>();
  const problems: Problem[] = [];
  for (const [name, ref] of flattenTensors(file, torch.root)) {
    const problem = misfit(file, name, ref);
    if (problem) problems.push(problem);
    else tensors.set(name, await storedTensor(file, torch, name, ref));
  }
  throwIfAny(problems.slice(0, MAX_PROBLEMS));
  return tensors;
}

async function storedTensor(file: SourceFile, torch: TorchFile, name: string, ref: TensorRef): Promise<StoredTensor> {
  const itemSize = DTYPES[ref.dtype].bits / 8;
  // An empty tensor may have any offset, and no bytes there.
  const skipped = ref.shape.includes(0) ? 0 : (ref.storage.skip + ref.offset) * itemSize;
  const offset = (await torch.locate(ref.storage, ref)) + skipped;
  const { dtype, shape, strides } = ref;
  if (!isContiguous(ref)) return stridedTensor(file, name, dtype, { shape, strides, offset });
  return plainTensor(file, name, dtype, shape, { file: file.path, offset, length: elementCount(shape) * itemSize });
}

function misfit(file: SourceFile, name: string, ref: TensorRef): Problem | undefined {
  const itemSize = DTYPES[ref.dtype].bits / 8;
  const last = ref.shape.reduce((sum, size, axis) => sum + (size - 1) * (ref.strides[axis] as number), ref.offset);
  const empty = ref.shape.includes(0);
  const fits = empty || (last + 1 + ref.storage.skip) * itemSize <= bytesOf(ref.storage);
  // A stride of 0 makes any size out of few bytes; no model has a tensor larger than its file.
  if (fits && elementCount(ref.shape) * itemSize <= file.size) return undefined;
  return {
    code: "CKP015",
    what: `tensor ${name.slice(0, 200)}: ${ref.dtype} ${showShape(ref.shape)} with strides ${showShape(ref.strides)} from element ${ref.offset} does not fit its storage of ${bytesOf(ref.storage)} bytes`,
    at: `${file.path}, byte ${ref.at}`,
    why: "the tensor would reach into bytes of other tensors or outside the file",
    fix: "download the file again",
  };
}
