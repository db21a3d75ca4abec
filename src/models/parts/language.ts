import type {
  Architecture,
  CheckpointConfig,
  CheckpointLayout,
  DealLimits,
  ModelWeights,
  NameRule,
  WeightRule,
} from "../architecture.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec } from "../spec.ts";
import { readTextIdentity } from "./common-keys.ts";
import { decoderGraph } from "./decoder-graph.ts";

/** A decoder-only language model, as it occurs alone and inside multimodal models. */
export interface LanguageFamily {
  /** Hugging Face class, and `model_type` of its config. */
  readonly architecture: string;
  readonly modelType: string;
  /** The keys of its config, at the top level or as `text_config` (`nested`). */
  read(c: ConfigReader, nested: boolean): DecoderSpec;
  /** What stands before the names of the model without its head. */
  readonly base: string;
  /** Other layouts of its stored names. */
  readonly names: readonly NameRule[];
  readonly ignore: readonly RegExp[];
  weights(spec: DecoderSpec): WeightRule[];
  /** Canonical name of the word table, which a stored lm_head of a tied model must equal. */
  readonly words: string;
  /** Canonical name of lm_head where it is not "lm_head.weight". */
  readonly head?: string;
  config(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig;
  limits?(spec: DecoderSpec): DealLimits;
}

export function languageCopies(family: LanguageFamily, spec: DecoderSpec): NonNullable<ModelWeights["copies"]> {
  return spec.tiedEmbeddings ? [{ name: family.head ?? "lm_head.weight", of: family.words }] : [];
}

/** The architecture of the family's own checkpoints, which take text alone. */
export function textOnly(family: LanguageFamily, hf: readonly string[] = [family.architecture]): Architecture {
  const { limits } = family;
  return {
    hf,
    readSpec: c => {
      const identity = readTextIdentity(c, family.architecture, family.modelType);
      return c.finish({ ...identity, language: family.read(c, false) });
    },
    weights: ({ language }) => ({
      names: family.names,
      language: family.weights(language),
      visual: [],
      ignore: family.ignore,
      copies: languageCopies(family, language),
    }),
    checkpointConfig: ({ language }, layout) => family.config(language, layout),
    ...(limits && { limits: ({ language }) => limits(language) }),
    languageGraph: decoderGraph,
  };
}
