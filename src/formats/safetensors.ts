export {
  dataOffsetOf,
  encodeHeader,
  readHeader,
  type SafetensorsHeader,
  type TensorDescription,
  type TensorEntry,
} from "./safetensors/header.ts";
export { openSafetensors, type Safetensors } from "./safetensors/read.ts";
export {
  type FileToWrite,
  inOrder,
  type WriteOptions,
  type WrittenFile,
  writeSafetensors,
  writeTogether,
} from "./safetensors/write.ts";
