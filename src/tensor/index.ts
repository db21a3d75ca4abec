export * from "./dtype.ts";
export * from "./half.ts";
export * from "./lora.ts";
export {
  concatRows,
  fromStored,
  metaRotary,
  named,
  padRows,
  permuteRows,
  repeatHeads,
  reshape,
  sliceRows,
  zeroRows,
} from "./ops.ts";
export * from "./ops-cast.ts";
export { concatColumns, sliceColumns, transpose } from "./ops-columns.ts";
export { multiplyRows } from "./ops-matmul.ts";
export { cutRanges } from "./ops-ranges.ts";
export * from "./or-scan.ts";
export * from "./packed.ts";
export * from "./quantization.ts";
export * from "./recipe.ts";
export * from "./shape.ts";
export * from "./stored.ts";
