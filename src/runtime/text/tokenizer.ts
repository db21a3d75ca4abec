import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Tokenizer } from "@huggingface/tokenizers";
import { fail } from "../../diagnostics/index.ts";
import { isJsonObject, type Json, type JsonObject, readJsonObject } from "../../formats/json.ts";
import { bounded } from "./bounded.ts";

/** Text to token ids and back, as transformers' fast tokenizer of the same files does it. */
export interface TextTokenizer {
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  /** tokenizer_config.json, for the chat template and its variables. */
  readonly config: JsonObject;
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** Special tokens are left out unless asked for. Ids that name no token give nothing. */
  decode(ids: readonly number[], options?: { readonly keepSpecialTokens?: boolean }): string;
  idOf(token: string): number | undefined;
  tokenOf(id: number): string | undefined;
}

const MODELS: readonly Json[] = ["BPE", "Unigram", "WordPiece"];

/**
 * Opens `tokenizer.json` and `tokenizer_config.json` of a directory.
 * @throws MmtrtError RUN005 no tokenizer.json; RUN006 one that this version cannot run; CKP008 malformed JSON.
 */
export async function openTokenizer(dir: string): Promise<TextTokenizer> {
  const file = join(dir, "tokenizer.json");
  if (!existsSync(file)) missingTokenizer(dir);
  const configFile = join(dir, "tokenizer_config.json");
  const json = await readJsonObject(file);
  const config = existsSync(configFile) ? await readJsonObject(configFile) : {};
  const model = json.model;
  const kind = isJsonObject(model) ? (model.type ?? "BPE") : "missing";
  // The library guesses a kind it does not know from the other keys; a guess is other tokens.
  if (!MODELS.includes(kind)) unusable(file, `model.type is ${JSON.stringify(kind)}; expected ${MODELS.join(", ")}`);
  const { Tokenizer } = await import("@huggingface/tokenizers");
  try {
    // The library's default is true, transformers' is false since version 5 and in every fast tokenizer saved before.
    const cleanUp = config.clean_up_tokenization_spaces === true;
    return new HfTokenizer(new Tokenizer(json, { ...config, clean_up_tokenization_spaces: cleanUp }), config, file);
  } catch (error) {
    return unusable(file, (error as Error).message);
  }
}

class HfTokenizer implements TextTokenizer {
  readonly config: JsonObject;
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly #tokenizer: Tokenizer;
  readonly #file: string;
  readonly #special = new Set<number>();

  constructor(tokenizer: Tokenizer, config: JsonObject, file: string) {
    this.#file = file;
    this.#tokenizer = tokenizer;
    this.config = config;
    this.bosToken = tokenText(config.bos_token);
    this.eosToken = tokenText(config.eos_token);
    for (const [id, token] of tokenizer.get_added_tokens_decoder()) if (token.special) this.#special.add(id);
  }

  encode(text: string, { addSpecialTokens = true } = {}): number[] {
    try {
      const { ids }: { ids: readonly unknown[] } = bounded(text.length, () =>
        this.#tokenizer.encode(text, { add_special_tokens: addSpecialTokens }),
      );
      // A vocabulary without an unknown token drops what it cannot spell, as the Rust tokenizers do.
      return ids.filter((id): id is number => Number.isSafeInteger(id));
    } catch (error) {
      return unusable(this.#file, (error as Error).message);
    }
  }

  decode(ids: readonly number[], { keepSpecialTokens = false } = {}): string {
    const known = ids.filter(id => this.#tokenizer.id_to_token(id) !== undefined);
    const shown = keepSpecialTokens ? known : known.filter(id => !this.#special.has(id));
    try {
      return shown.length === 0 ? "" : this.#tokenizer.decode(shown);
    } catch (error) {
      return unusable(this.#file, (error as Error).message);
    }
  }

  idOf(token: string): number | undefined {
    return this.#tokenizer.token_to_id(token);
  }

  tokenOf(id: number): string | undefined {
    return this.#tokenizer.id_to_token(id);
  }
}

/** A token in tokenizer_config.json: a string, or an AddedToken as an object. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : undefined;
}

function missingTokenizer(dir: string): never {
  const sentencePiece = existsSync(join(dir, "tokenizer.model"));
  return fail({
    code: "RUN005",
    what: sentencePiece
      ? `${dir} has tokenizer.model but no tokenizer.json`
      : `${dir} has no tokenizer.json, so text cannot be turned into token ids`,
    at: join(dir, "tokenizer.json"),
    why: "the model was converted without tokenizer files, or with a kind that Hugging Face's fast tokenizers do not read",
    fix: sentencePiece
      ? "write one with transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR); or give --input_ids FILE"
      : "give token ids with --input_ids FILE, or copy the model's tokenizer files there",
  });
}

function unusable(file: string, reason: string): never {
  return fail({
    code: "RUN006",
    what: `${file} cannot be used: ${reason}`,
    at: file,
    why: "other tokens than the model was trained with would give another answer",
    fix: "save the tokenizer again with a current transformers, or give token ids with --input_ids FILE",
  });
}
