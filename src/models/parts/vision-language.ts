import type { Architecture, ModelWeights, NameRule } from "../architecture.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { ModelSpec } from "../spec.ts";
import { refuseQuantized } from "./common-keys.ts";
import { decoderGraph } from "./decoder-graph.ts";
import { type LanguageFamily, languageCopies } from "./language.ts";
import { visualGraph, visualWeights } from "./visual-graph.ts";
import { towerIgnored, towerUnused } from "./vit-weights.ts";

/** By `text_config.model_type`. */
export type LanguageFamilies = Readonly<Record<string, LanguageFamily>>;

interface VisionLanguage {
  readonly hf: readonly string[];
  readonly readsProcessor?: boolean;
  readonly families: LanguageFamilies;
  readSpec(c: ConfigReader): ModelSpec;
  /** Layouts of the stored names, by the language model's base. */
  names(family: LanguageFamily): readonly NameRule[];
  /** What transformers puts before the language model's names when it saves. */
  readonly languagePrefix?: string;
}

/** An image encoder, a projector, and any of some language models with a prompt table, which is kept as that model's own checkpoints are. */
export function visionLanguage(model: VisionLanguage): Architecture {
  const familyOf = ({ language: { architecture } }: ModelSpec): LanguageFamily => {
    const family = Object.values(model.families).find(known => known.architecture === architecture);
    if (family === undefined) throw new Error(`${model.hf.join(" and ")} know no language model ${architecture}`);
    return family;
  };
  return {
    hf: model.hf,
    ...(model.readsProcessor && { readsProcessor: true }),
    readSpec: c => c.finish(model.readSpec(c)),
    weights: spec => weightsOf(spec, familyOf(spec), model),
    checkpointConfig: (spec, layout) => familyOf(spec).config(spec.language, layout),
    limits: spec => familyOf(spec).limits?.(spec.language) ?? {},
    languageGraph: decoderGraph,
    visualGraph,
  };
}

function weightsOf(spec: ModelSpec, family: LanguageFamily, { names, languagePrefix }: VisionLanguage): ModelWeights {
  const { language, vision } = spec;
  return {
    names: names(family),
    language: family.weights(language),
    visual: visualWeights(spec),
    ignore: [...family.ignore, ...(vision ? towerIgnored(vision) : [])],
    ...(languagePrefix !== undefined && { languagePrefix }),
    unused: vision ? towerUnused(vision) : [],
    copies: languageCopies(family, language),
  };
}

/** The family that `text_config` names; the class's default, `usual`, where it names none. `whole` is the model's name, for messages. */
export function readFamily(
  text: ConfigReader,
  families: LanguageFamilies,
  { usual, whole }: { readonly usual: string; readonly whole: string },
): LanguageFamily {
  const types = Object.keys(families);
  text.only("model_type", types, `other language models inside ${whole} have tensors and numbers of their own`);
  refuseQuantized(text);
  return families[types.find(type => type === text.raw("model_type")) ?? usual] as LanguageFamily;
}
