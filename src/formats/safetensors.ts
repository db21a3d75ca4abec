export {
  dataOffsetOf,
  encodeHeader,
  readHeader,
  type SafetensorsHeader,
  type TensorDescription,
  type TensorEntry,
} from "./safetensors/header.ts";
export { openSafetensors, type Safetensors } from "./safetensors/read.ts";
export { type WriteOptions, type WrittenFile, writeSafetensors } from "./safetensors/write.ts";
