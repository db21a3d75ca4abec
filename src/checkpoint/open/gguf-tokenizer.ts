import type { Problem } from "../../diagnostics/index.ts";
import type { Gguf, GgufValue } from "../../formats/gguf.ts";
import { byteLevelTokenizer } from "./tokenizer-bpe.ts";
import type { GgufVocabulary } from "./tokenizer-json.ts";
import { sentencePieceTokenizer } from "./tokenizer-spm.ts";

/** What was made, or why it could not be. */
export interface TokenizerFiles {
  /** Name → text. */
  readonly files: Readonly<Record<string, string>>;
  readonly problems: readonly Problem[];
}

/** tokenizer.json and tokenizer_config.json from the metadata, or CKP023. */
export function ggufTokenizerFiles(gguf: Gguf): TokenizerFiles {
  const model = gguf.metadata.get("tokenizer.ggml.model");
  if (model === undefined) return noTokenizer(gguf, "the file has none");
  const vocabulary = readVocabulary(gguf);
  if (typeof vocabulary === "string") return noTokenizer(gguf, vocabulary);
  if (model === "gpt2") {
    const tokenizer = byteLevelTokenizer(vocabulary);
    if (tokenizer === undefined)
      return noTokenizer(
        gguf,
        `its text-splitting rules are called ${JSON.stringify(vocabulary.pre)}, which is not known`,
      );
    return filesOf(gguf, vocabulary, tokenizer);
  }
  if (model === "llama") return filesOf(gguf, vocabulary, sentencePieceTokenizer(vocabulary));
  return noTokenizer(gguf, `its kind is ${JSON.stringify(model)}; gpt2 and llama are read`);
}

function filesOf(gguf: Gguf, vocabulary: GgufVocabulary, tokenizer: object): TokenizerFiles {
  const files = {
    "tokenizer.json": JSON.stringify(tokenizer),
    "tokenizer_config.json": `${JSON.stringify(tokenizerConfig(gguf, vocabulary), null, 2)}\n`,
  };
  return { files, problems: [] };
}

function tokenizerConfig({ metadata }: Gguf, { tokens, bos }: GgufVocabulary): object {
  const token = (key: string): string | undefined => tokenOf(tokens, metadata.get(`tokenizer.ggml.${key}_token_id`));
  const template = metadata.get("tokenizer.chat_template");
  const context = metadata.get("llama.context_length");
  return {
    add_bos_token: bos !== undefined,
    add_eos_token: false,
    bos_token: token("bos"),
    eos_token: token("eos"),
    unk_token: token("unknown"),
    pad_token: token("padding"),
    ...(typeof template === "string" && { chat_template: template }),
    clean_up_tokenization_spaces: false,
    ...(typeof context === "number" && { model_max_length: context }),
    tokenizer_class: "PreTrainedTokenizerFast",
  };
}

/** The vocabulary, or what is wrong with it. */
function readVocabulary({ metadata }: Gguf): GgufVocabulary | string {
  const list = (key: string): readonly GgufValue[] => {
    const value = metadata.get(`tokenizer.ggml.${key}`);
    return Array.isArray(value) ? value : [];
  };
  const [tokens, types, scores, merges] = [list("tokens"), list("token_type"), list("scores"), list("merges")];
  if (tokens.length === 0 || !tokens.every(t => typeof t === "string")) return "its tokens are not a list of texts";
  if (new Set(tokens).size !== tokens.length) return "two of its tokens are the same text";
  if (
    ![types, scores].every(l => (l.length === 0 || l.length === tokens.length) && l.every(v => typeof v === "number"))
  ) {
    return "its token types or scores do not match its tokens";
  }
  if (!merges.every(m => typeof m === "string")) return "its merges are not texts";
  const model = metadata.get("tokenizer.ggml.model");
  const flag = (key: string, fallback: boolean): boolean =>
    (metadata.get(`tokenizer.ggml.${key}`) ?? fallback) === true;
  const id = (key: string): GgufValue | undefined => metadata.get(`tokenizer.ggml.${key}_token_id`);
  if (flag("add_eos_token", false)) return "it adds an end token to every text, which no supported model does";
  return {
    tokens: tokens as readonly string[],
    types: types as readonly number[],
    scores: scores as readonly number[],
    merges: merges as readonly string[],
    pre: String(metadata.get("tokenizer.ggml.pre") ?? "default"),
    addSpacePrefix: flag("add_space_prefix", model === "llama"),
    // llama.cpp's own defaults for files that do not say.
    bos: flag("add_bos_token", model === "llama") ? tokenOf(tokens as readonly string[], id("bos")) : undefined,
    unknown: tokenOf(tokens as readonly string[], id("unknown")),
  };
}

function tokenOf(tokens: readonly string[], id: GgufValue | undefined): string | undefined {
  return typeof id === "number" ? tokens[id] : undefined;
}

function noTokenizer(gguf: Gguf, reason: string): TokenizerFiles {
  const problem: Problem = {
    code: "CKP023",
    what: `the tokenizer of ${gguf.path} cannot be rebuilt: ${reason}`,
    at: gguf.path,
    why: "a tokenizer with other rules gives wrong text that looks right",
    fix: "put the .gguf file into a directory with the model's tokenizer.json and convert the directory",
  };
  return { files: {}, problems: [problem] };
}
