import type { NameRule } from "../architecture.ts";
import type { LanguageFamily } from "./language.ts";
import { PROJECTOR_NAMES } from "./projector.ts";
import { NEWLINE_NAMES } from "./visual-graph.ts";
import { TOWER_NAMES } from "./vit-weights.ts";

/** LLaVA, LLaVA-NeXT and LLaVA-OneVision as transformers has saved them, before 5 and since. */
export function llavaNames({ base }: LanguageFamily): readonly NameRule[] {
  return [
    ...TOWER_NAMES,
    ...PROJECTOR_NAMES,
    ...NEWLINE_NAMES,
    // transformers 5 calls every language model's inner part `model`, GPT-2's `transformer` too.
    { stored: /^language_model\.model\./, canonical: base },
    { stored: /^language_model\./, canonical: "" },
    { stored: /^model\.language_model\./, canonical: base },
  ];
}
