import { addedTokens, beginTemplate, type GgufVocabulary, vocabularyMap } from "./tokenizer-json.ts";

/** U+2581, SentencePiece's space. */
const SPACE = "\u2581";
/** Real tokens have up to 48 characters; the pairs of a token are tried in the square of its length. */
const MAX_TOKEN = 256;

/** SentencePiece BPE with byte fallback (LLaMA 1 and 2, Vicuna, TinyLlama) as tokenizer.json. */
export function sentencePieceTokenizer(vocabulary: GgufVocabulary): object {
  const prefix = vocabulary.addSpacePrefix;
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    normalizer: {
      type: "Sequence",
      normalizers: [
        ...(prefix ? [{ type: "Prepend", prepend: SPACE }] : []),
        { type: "Replace", pattern: { String: " " }, content: SPACE },
      ],
    },
    pre_tokenizer: null,
    post_processor: beginTemplate(vocabulary) ?? null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: SPACE }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: vocabulary.unknown ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: vocabularyMap(vocabulary.tokens),
      merges: mergesFromScores(vocabulary),
    },
  };
}

interface Merge {
  readonly left: string;
  readonly right: string;
  readonly score: number;
  readonly order: readonly [number, number];
}

/**
 * SentencePiece joins the neighbouring pair whose joined token scores best; BPE joins the pair that comes first in a list.
 * So every way to split a token into two tokens is a merge, sorted by the joined token's score, best first.
 */
function mergesFromScores({ tokens, scores, types }: GgufVocabulary): string[] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: Merge[] = [];
  tokens.forEach((token, id) => {
    const joinable = (types[id] ?? 1) === 1 && token.length <= MAX_TOKEN;
    for (let cut = 1; joinable && cut < token.length; cut++) {
      const [left, right] = [token.slice(0, cut), token.slice(cut)];
      const [leftId, rightId] = [ids.get(left), ids.get(right)];
      if (leftId === undefined || rightId === undefined) continue;
      merges.push({ left, right, score: scores[id] ?? 0, order: [leftId, rightId] });
    }
  });
  merges.sort((a, b) => b.score - a.score || a.order[0] - b.order[0] || a.order[1] - b.order[1]);
  return merges.map(({ left, right }) => `${left} ${right}`);
}
