/**
 * The text of the pass key test: one number in filler that has nothing to do with it, and a question at the end.
 * The words are those of test/reference/make_passkey_model.py, whose small model knows no others.
 */
const INTRO = "A pass key is hidden in this long text. Find it and remember it, for the last line asks for it.";
const FILLER = [
  "Rain fell on the old roof.",
  "A dog slept beside the door.",
  "The road went over the hill.",
  "Tea was made and the cups were filled.",
  "Night came and the lamps were lit.",
];
const QUESTION = "What is the pass key? The pass key is";

const needleOf = (key: string): string => `The pass key is ${key}. Remember it: ${key} is the pass key.`;

/** The text with `sentences` sentences of filler and the key behind the first `depth` (0 to 1) of them. */
export function passkeyText(sentences: number, depth: number, key: string): string {
  const filler = Array.from({ length: sentences }, (_, i) => FILLER[i % FILLER.length] as string);
  const before = Math.round(depth * sentences);
  const body = [...filler.slice(0, before), needleOf(key), ...filler.slice(before)];
  return `${INTRO}\n${body.join(" ")}\n${QUESTION}`;
}

/** Token ids of a text, in the model's prompt. */
export type Encode = (text: string) => Promise<readonly number[]>;

/**
 * The longest such text of at most `tokens` tokens; undefined where even a text without filler is longer. Whole
 * sentences are counted, so that it may be a few tokens short.
 */
export async function passkeyPrompt(
  encode: Encode,
  tokens: number,
  depth: number,
  key: string,
): Promise<readonly number[] | undefined> {
  const promptOf = (sentences: number): Promise<readonly number[]> => encode(passkeyText(sentences, depth, key));
  let fits = await promptOf(0);
  if (fits.length > tokens) return undefined;
  const cycle = (await promptOf(FILLER.length)).length - fits.length;
  let sentences = Math.floor(((tokens - fits.length) / Math.max(1, cycle)) * FILLER.length);
  let found = await promptOf(sentences);
  // Sentences differ in length, and words at their seams: a few steps to the last that fits.
  while (found.length > tokens) found = await promptOf(--sentences);
  do {
    fits = found;
    found = await promptOf(++sentences);
  } while (found.length <= tokens);
  return fits;
}

/** Whether the answer holds the key as a number of its own. */
export function answersKey(answer: string, key: string): boolean {
  return new RegExp(`(?<!\\d)${key}(?!\\d)`).test(answer);
}
