import { addedTokens, beginTemplate, type GgufVocabulary, vocabularyMap } from "./tokenizer-json.ts";

interface SplitRules {
  readonly preTokenizer: object;
  /** A word that is a token is taken whole, without walking the merges. */
  readonly ignoreMerges?: boolean;
}

const byteLevel = (useRegex: boolean): object => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const sequence = (...pretokenizers: readonly object[]): object => ({ type: "Sequence", pretokenizers });
const digitsApart: SplitRules = {
  preTokenizer: sequence({ type: "Digits", individual_digits: true }, byteLevel(true)),
};

/** LLaMA 3: as tiktoken's cl100k, with at most three digits together. */
const LLAMA3_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const llama3: SplitRules = {
  preTokenizer: sequence(
    { type: "Split", pattern: { Regex: LLAMA3_WORDS }, behavior: "Isolated", invert: false },
    byteLevel(false),
  ),
  ignoreMerges: true,
};

/** By tokenizer.ggml.pre. */
const RULES: Readonly<Record<string, SplitRules>> = {
  "gpt-2": { preTokenizer: byteLevel(true) },
  smollm: digitsApart,
  starcoder: digitsApart,
  refact: digitsApart,
  "command-r": digitsApart,
  "llama-bpe": llama3,
  "llama-v3": llama3,
  llama3,
};

/** Byte-level BPE as tokenizer.json, or undefined when the splitting rules are not known. */
export function byteLevelTokenizer(vocabulary: GgufVocabulary): object | undefined {
  const rules = Object.hasOwn(RULES, vocabulary.pre) ? RULES[vocabulary.pre] : undefined;
  if (rules === undefined) return undefined;
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    normalizer: null,
    pre_tokenizer: rules.preTokenizer,
    post_processor: beginTemplate(vocabulary) ?? byteLevel(true),
    decoder: byteLevel(true),
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: rules.ignoreMerges ?? false,
      vocab: vocabularyMap(vocabulary.tokens),
      merges: vocabulary.merges,
    },
  };
}
