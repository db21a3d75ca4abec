import type { Origin } from "./parallel-rules.ts";
import { findPublished, smallestOf } from "./published.ts";
import { type Config, type LanguageSizes, type Reduction, reduced, withLanguageSizes } from "./synth-sizes.ts";

export interface SynthChoice {
  /** A whole config.json; neither `preset` nor `architecture` is used then. */
  readonly base: Config | undefined;
  /** A model of configs/models. */
  readonly preset: string | undefined;
  /** Without a preset: the smallest published model of this class. */
  readonly architecture: string;
  readonly reduction: Reduction;
  /** Sizes of the language model that replace the preset's, in LLaMA's words. */
  readonly sizes: LanguageSizes;
  readonly origin: Origin;
}

/** The config.json to make weights for. Errors: CKP057 unknown preset or none for the architecture, CKP064. */
export async function synthConfig(choice: SynthChoice): Promise<Config> {
  const { base, preset, architecture, reduction, sizes, origin } = choice;
  const config =
    base ??
    (preset === undefined
      ? await smallestOf(architecture, origin("architecture"))
      : await findPublished(preset, origin("preset"))
    ).config;
  return withLanguageSizes(reduced(config, reduction), sizes, origin);
}
