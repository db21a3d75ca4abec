import { fromStored, type PackedLinear, type PackedScheme } from "../tensor/index.ts";
import { allZero, unpackColumns } from "./packed-codes.ts";
import type { PackedModule } from "./packed-module.ts";

/** AutoAWQ puts columns 0 2 4 6 1 3 5 7 into a word from its low end; this is where column c of eight stands. */
const PLACES = [0, 4, 1, 5, 2, 6, 3, 7];

/**
 * AutoAWQ's gemm layout of one layer with K inputs, N outputs and G groups: qweight int32 [K, N / 8], qzeros int32
 * [G, N / 8], scales [G, N]. Its gemv layout has [N, K / 8] under the same names, which the shapes tell apart.
 */
export async function unpackAwq(module: PackedModule, { groupSize }: PackedScheme): Promise<PackedLinear | undefined> {
  const qweight = module.matrix("qweight", ["int32"]);
  if (qweight === undefined) return undefined;
  const [k = 0, words = 0] = qweight.shape;
  const n = words * 8;
  const group = groupSize ?? k;
  const groups = Math.ceil(k / group);
  if (groups * group !== k) return module.refuse(qweight, `holds ${k} inputs, which are no groups of ${group}`);
  const qzeros = module.of("qzeros", ["int32"], [groups, words]);
  const scales = module.of("scales", ["float16", "bfloat16", "float32"], [groups, n]);
  if (qzeros === undefined || scales === undefined) return undefined;
  const codes = unpackColumns({ words: fromStored(qweight), bits: 4, offset: -8, dtype: "int8" }, n, PLACES);
  const zeros = unpackColumns({ words: fromStored(qzeros), bits: 4, offset: -8, dtype: "int16" }, n, PLACES);
  return {
    module: module.name,
    kind: "int4",
    outputs: n,
    inputs: k,
    groups,
    codes: { recipe: codes, turned: true },
    scales: { recipe: fromStored(scales), turned: true },
    ...(!(await allZero(zeros)) && { zeros: { recipe: zeros, turned: true } }),
  };
}
