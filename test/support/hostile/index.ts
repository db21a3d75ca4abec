import { CHECKPOINT_READERS } from "./checkpoint-readers.ts";
import { ENGINE_READERS } from "./engine-readers.ts";
import { IMAGE_READERS } from "./image-readers.ts";
import { PROGRAM_READERS } from "./program-readers.ts";
import type { Reader } from "./reader.ts";
import { REQUEST_READERS } from "./request-readers.ts";

/** Every way into mmtrt for somebody else's bytes. */
export const READERS: readonly Reader[] = [
  ...CHECKPOINT_READERS,
  ...REQUEST_READERS,
  ...IMAGE_READERS,
  ...ENGINE_READERS,
  ...PROGRAM_READERS,
];
