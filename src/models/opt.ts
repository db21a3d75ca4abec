import { defineArchitecture } from "./architecture.ts";
import { textOnly } from "./parts/language.ts";
import { OPT } from "./parts/opt-decoder.ts";

/** Everything mmtrt knows about OPT, 125m to 66b; opt-350m's narrow embeddings and post-norm included. */
export default defineArchitecture(textOnly(OPT));
