import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec, ModelSpec } from "../spec.ts";
import { conflict, readTokenIds } from "./common-keys.ts";

/**
 * `image_token_index` (before 5) or `image_token_id`; undefined when there is neither. `unset` is the class default,
 * which transformers writes when whoever made the model never chose a token.
 */
export function readImageToken(c: ConfigReader, language: DecoderSpec, unset?: number): number | undefined {
  const keys = ["image_token_index", "image_token_id"].filter(key => c.has(key));
  const [key = "image_token_index", other] = keys;
  if (keys.length === 0 && unset === undefined) {
    c.ignore("image_token_index", "image_token_id");
    return undefined;
  }
  const id = c.signed(key, unset);
  if (other !== undefined && c.signed(other) !== id) conflict(c, key, id, other, c.raw(other));
  if (id >= 0 && id < language.vocabSize) return id;
  const what = `is ${id}, but the vocabulary has ids 0…${language.vocabSize - 1}`;
  const fix = `give ${key} as the id of the image placeholder in the model's tokenizer`;
  if (id === unset) {
    c.warn(
      "SPC007",
      key,
      `${what}; taken as not set, for it is the class default`,
      "without the placeholder's id a prompt cannot say where the image goes",
      fix,
    );
    return undefined;
  }
  c.problem(
    "SPC007",
    key,
    what,
    "the placeholder stands in prompts, where every id must be a row of the embedding table",
    fix,
  );
  return undefined;
}

/** Special tokens: the language model's own before the whole model's, before its class's defaults. */
export function readMultimodalIds(
  c: ConfigReader,
  text: ConfigReader,
  defaults: { readonly bos: number; readonly eos: number },
): Pick<ModelSpec, "bosTokenId" | "eosTokenIds" | "padTokenId"> {
  const id = (key: string): number | undefined => readTokenIds(text, key)[0] ?? readTokenIds(c, key)[0];
  const eos = [readTokenIds(text, "eos_token_id"), readTokenIds(c, "eos_token_id")].find(ids => ids.length > 0);
  const pad = id("pad_token_id");
  return {
    bosTokenId: id("bos_token_id") ?? defaults.bos,
    eosTokenIds: eos ?? [defaults.eos],
    ...(pad !== undefined && { padTokenId: pad }),
  };
}
