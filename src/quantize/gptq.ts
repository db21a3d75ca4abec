import { fromStored, type PackedLinear, type PackedScheme, recipeBytes, type StoredTensor } from "../tensor/index.ts";
import { allZero, unpackColumns, unpackRows } from "./packed-codes.ts";
import type { PackedModule } from "./packed-module.ts";

/**
 * GPTQ's tensors of one layer with K inputs, N outputs and G groups: qweight int32 [K / per, N], `per` codes of one output
 * to a word; qzeros int32 [G, N / per], `per` outputs to a word; scales [G, N]; g_idx int32 [K], the group of each input.
 */
export async function unpackGptq(module: PackedModule, scheme: PackedScheme): Promise<PackedLinear | undefined> {
  const bits = scheme.codes === "int8" ? 8 : 4;
  const half = 2 ** (bits - 1);
  const qweight = module.matrix("qweight", ["int32"]);
  if (qweight === undefined) return undefined;
  const [words = 0, n = 0] = qweight.shape;
  const k = (words * 32) / bits;
  const group = scheme.groupSize ?? k;
  const groups = Math.ceil(k / group);
  if (groups * group !== k) return module.refuse(qweight, `holds ${k} inputs, which are no groups of ${group}`);
  const width = Math.ceil((n * bits) / 32);
  const qzeros = module.of("qzeros", ["int32"], [groups, width]);
  const scales = module.of("scales", ["float16", "bfloat16", "float32"], [groups, n]);
  const order = module.has("g_idx") ? module.of("g_idx", ["int32", "int64"], [k]) : undefined;
  if (order && !(await inOrder(order, group))) module.problems.push(permuted(order, module.name));
  if (qzeros === undefined || scales === undefined) return undefined;
  const codes = unpackRows({ words: fromStored(qweight), bits, offset: -half, dtype: "int8" }, k);
  const offset = scheme.zeroOffset - half;
  const zeros = unpackColumns({ words: fromStored(qzeros), bits, offset, dtype: "int16" }, n);
  return {
    module: module.name,
    kind: scheme.codes,
    outputs: n,
    inputs: k,
    groups,
    codes: { recipe: codes, turned: true },
    scales: { recipe: fromStored(scales), turned: true },
    ...(!(await allZero(zeros)) && { zeros: { recipe: zeros, turned: true } }),
  };
}

/** Input k belongs to group ⌊k / group⌋, whatever desc_act says. */
export async function inOrder(order: StoredTensor, group: number): Promise<boolean> {
  let k = 0;
  for await (const bytes of recipeBytes(fromStored(order))) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const size = order.dtype === "int64" ? 8 : 4;
    for (let at = 0; at < bytes.byteLength; at += size, k++)
      if (view.getInt32(at, true) !== Math.floor(k / group)) return false;
  }
  return true;
}

/** Inputs sorted by importance before they were put in groups (desc_act, actorder "group"). */
export function permuted(order: StoredTensor, module: string): PackedModule["problems"][number] {
  return {
    code: "CKP093",
    what: `${order.name} puts the inputs of ${module} in groups in another order than they come`,
    at: `${order.name} in ${order.at}`,
    why: "engines have one scale for each run of neighbouring inputs; in groups that are scattered every weight would need a scale of its own",
    fix: "convert a checkpoint that was quantized with desc_act false (compressed-tensors: actorder null or static)",
  };
}
