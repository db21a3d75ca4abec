/** What a GGUF file says about its tokenizer. */
export interface GgufVocabulary {
  /** By id. */
  readonly tokens: readonly string[];
  /** 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; by id, or empty. */
  readonly types: readonly number[];
  readonly scores: readonly number[];
  /** "left right", best first. */
  readonly merges: readonly string[];
  /** The word for the text-splitting rules. */
  readonly pre: string;
  /** A space is put before the text. */
  readonly addSpacePrefix: boolean;
  /** Put before the ids of a text. */
  readonly bos: string | undefined;
  readonly unknown: string | undefined;
}

const CONTROL = 3;
const UNKNOWN = 2;
const USER_DEFINED = 4;

/** id by token; fromEntries keeps a token called __proto__ too. */
export function vocabularyMap(tokens: readonly string[]): Readonly<Record<string, number>> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

/** Tokens that are found in the text before it is split: control tokens, hidden in the output, and user-defined ones. */
export function addedTokens({ tokens, types }: GgufVocabulary): object[] {
  return tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== CONTROL && type !== UNKNOWN && type !== USER_DEFINED) return [];
    const special = type !== USER_DEFINED;
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

/** Puts the begin token before a text; undefined when there is none. */
export function beginTemplate({ tokens, bos }: GgufVocabulary): object | undefined {
  if (bos === undefined) return undefined;
  const special = { SpecialToken: { id: bos, type_id: 0 } };
  const text = (id: string, type_id: number): object => ({ Sequence: { id, type_id } });
  return {
    type: "TemplateProcessing",
    single: [special, text("A", 0)],
    pair: [special, text("A", 0), { SpecialToken: { id: bos, type_id: 1 } }, text("B", 1)],
    special_tokens: { [bos]: { id: bos, ids: [tokens.indexOf(bos)], tokens: [bos] } },
  };
}
