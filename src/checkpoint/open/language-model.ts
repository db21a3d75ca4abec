import { join, relative, resolve } from "node:path";
import { fail, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { FilePool } from "../../formats/file.ts";
import { type JsonObject, readJsonObject } from "../../formats/json.ts";
import { type KnownModel, readModel } from "../../models/registry.ts";
import { seesImages } from "../../models/spec.ts";
import type { OpenedModel, StoredTensor } from "../../tensor/index.ts";
import { canonicalNames } from "../names.ts";
import { extraFilesOf } from "./extra-files.ts";
import { objectAt, openPart, type PartDir } from "./folders.ts";

/** The language model inside a multimodal checkpoint, in every layout of transformers. */
const OWN_LANGUAGE = /^(?:model\.)?language_model\.|^lm_head\./;
/** The last product of the visual part, whose rows stand among the word embeddings. */
const LAST_PROJECTION = /(?:^|\.)(?:language_projection|multi_modal_projector\.linear_2)\.weight$/;
/** Ids that say how both parts were trained together: BLIP-2's OPT ends at a line break, OPT alone at </s>. */
const SPECIAL_IDS = ["bos_token_id", "eos_token_id", "pad_token_id"];
const IMAGE_TOKENS = ["image_token_index", "image_token_id"];
/** What belongs to pictures and answers, not to words. */
const OF_THE_WHOLE = /^(?:chat_template\.\w+|generation_config\.json|.*processor_config\.json)$/;
/** Vocabularies of one tokenizer differ by padding and added tokens only; published BLIP-2 and OPT by 32. */
const MOST_ADDED_TOKENS = 1024;

/**
 * A multimodal checkpoint with the language model of another directory (--llm_dir) in place of its own: the visual part,
 * image processor and generation settings stay, weights, config and tokenizer of the language model come from there.
 * Errors: CKP070 where the two do not fit, SPC… of its config.json, CKP019….
 */
export async function withLanguageModel(
  pool: FilePool,
  model: OpenedModel,
  dir: string | undefined,
): Promise<OpenedModel> {
  if (dir === undefined) return model;
  const config = model.config as JsonObject;
  if (typeof config.text_config !== "object" || config.text_config === null) fail(holdsNone(model.dir));
  const part = await openPart(pool, dir);
  const known = readModel(part.config, join(dir, "config.json"));
  throwIfAny([...misfits(model, known, dir)]);
  const { tensors, problems } = canonicalNames(part.weights.tensors, known.architecture.weights(known.spec).names);
  throwIfAny(problems);
  const visual = [...model.tensors].filter(([name]) => !OWN_LANGUAGE.test(name));
  const language = [...tensors].map(([name, tensor]): [string, StoredTensor] => {
    const full = `language_model.${name}`;
    return [full, { ...tensor, name: full }];
  });
  return {
    ...model,
    config: joinedConfig(config, part.config),
    tensors: new Map([...visual, ...language]),
    extraFiles: joinedFiles(model, part, dir),
    warnings: [...model.warnings, ...known.warnings, ...part.weights.warnings],
    weightFiles: [...model.weightFiles, ...part.weights.files],
  };
}

/**
 * The config of `config` with the language model of `dir`, for a plan: from two config.json files, weights or not. How wide
 * the visual part's last product is, is then not known. Errors: CKP001, CKP008, CKP070 where the two do not fit, SPC….
 */
export async function withLanguageConfig(model: Pick<OpenedModel, "dir" | "config">, dir: string): Promise<JsonObject> {
  const config = model.config as JsonObject;
  if (typeof config.text_config !== "object" || config.text_config === null) fail(holdsNone(model.dir));
  const language = await readJsonObject(join(dir, "config.json"));
  const known = readModel(language, join(dir, "config.json"));
  throwIfAny([...misfits({ ...model, tensors: new Map() }, known, dir)]);
  return joinedConfig(config, language);
}

function joinedConfig(config: JsonObject, language: JsonObject): JsonObject {
  const own = objectAt(config, "text_config");
  const ids = SPECIAL_IDS.filter(key => own[key] !== undefined).map(key => [key, own[key]]);
  // BLIP-2's features come before the prompt; the id that its own tokenizer added may be a word of this one.
  const dropped = config.qformer_config === undefined ? [] : IMAGE_TOKENS;
  const kept = Object.entries(config).filter(([key]) => !dropped.includes(key));
  return { ...Object.fromEntries(kept), text_config: { ...language, ...Object.fromEntries(ids) } };
}

/** By name relative to the multimodal directory: the words' files from `dir`, the others from there where it has none. */
function joinedFiles(model: OpenedModel, part: PartDir, dir: string): string[] {
  const own = model.extraFiles.filter(name => OF_THE_WHOLE.test(name));
  const from = relative(resolve(model.dir), resolve(dir));
  const words = extraFilesOf(part.names).filter(name => !OF_THE_WHOLE.test(name));
  return [...own, ...words.map(name => join(from, name))];
}

function* misfits(
  model: Pick<OpenedModel, "dir" | "config" | "tensors">,
  { spec }: KnownModel,
  dir: string,
): Generator<Problem> {
  const config = model.config as JsonObject;
  const own = objectAt(config, "text_config");
  const at = `${join(dir, "config.json")} (--llm_dir)`;
  // LlavaConfig's default; BLIP-2's is always written.
  const ownType = own.model_type ?? "llama";
  if (seesImages(spec) || spec.modelType !== ownType) {
    yield misfit(
      `${dir} has model_type ${spec.modelType}, and the language model of ${model.dir} ${String(ownType)}`,
      `${at}: model_type`,
      "the visual part was trained for the embeddings of one language model",
      `give a directory whose config.json has model_type ${JSON.stringify(ownType)}`,
    );
    return;
  }
  const { hiddenSize, vocabSize } = spec.language;
  const projection = [...model.tensors.values()].find(({ name }) => LAST_PROJECTION.test(name));
  const width = projection?.shape[0] ?? hiddenSize;
  if (width !== hiddenSize)
    yield misfit(
      `the language model has hidden_size ${hiddenSize}, and ${projection?.name} gives features of ${width}`,
      `${at}: hidden_size`,
      "visual features stand among the word embeddings, so both have one width",
      "give the language model that this visual part was trained with",
    );
  const ownVocabulary = own.vocab_size;
  if (typeof ownVocabulary === "number" && Math.abs(ownVocabulary - vocabSize) > MOST_ADDED_TOKENS)
    yield misfit(
      `the language model has vocab_size ${vocabSize}, and ${model.dir} was trained with ${ownVocabulary}`,
      `${at}: vocab_size`,
      "padding and added tokens make no such difference: it is another tokenizer's vocabulary",
      "give the language model that this visual part was trained with",
    );
  const imageToken = IMAGE_TOKENS.map(key => config[key]).find(id => typeof id === "number");
  if (config.qformer_config === undefined && typeof imageToken === "number" && imageToken >= vocabSize)
    yield misfit(
      `the language model's vocabulary has ids 0…${vocabSize - 1}, and the image token is ${imageToken}`,
      `${at}: vocab_size`,
      "the image token stands in the prompt, so the language model's tokenizer and embedding table must have it",
      "give a language model that was saved after the image token was added to its tokenizer",
    );
}

function misfit(what: string, at: string, why: string, fix: string): Problem {
  return { code: "CKP070", what, at, why, fix };
}

function holdsNone(dir: string): Problem {
  return misfit(
    `--llm_dir is given, and ${dir} has no text_config whose place it could take`,
    "--llm_dir",
    "only BLIP-2 and LLaVA of transformers keep a language model that can be exchanged",
    "leave out --llm_dir, or convert the language model by itself",
  );
}
