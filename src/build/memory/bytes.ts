import { DTYPES, type Dtype } from "../../tensor/index.ts";

export function bytesOf(dtype: Dtype): number {
  return DTYPES[dtype].bits / 8;
}
