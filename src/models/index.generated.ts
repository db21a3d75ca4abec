// Written by `npm run models` from the files of this folder; a test fails when it is stale.
import type { Architecture } from "./architecture.ts";
import llama from "./llama.ts";
import llava from "./llava.ts";

export const ARCHITECTURES: readonly Architecture[] = [llama, llava];
