import { defineArchitecture } from "./architecture.ts";
import { GPT2 } from "./parts/gpt2-decoder.ts";
import { textOnly } from "./parts/language.ts";

/** Everything mmtrt knows about GPT-2. */
export default defineArchitecture(textOnly(GPT2));
