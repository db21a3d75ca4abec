import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AnswerText } from "../../../../src/runtime/text/answer-text.ts";
import type { TextTokenizer } from "../../../../src/runtime/text/tokenizer.ts";

/** A token a character. */
const characters: TextTokenizer = {
  bosToken: undefined,
  eosToken: undefined,
  config: {},
  encode: text => [...text].map(c => c.codePointAt(0) as number),
  decode: ids => String.fromCodePoint(...ids),
  idOf: token => token.codePointAt(0),
  tokenOf: id => String.fromCodePoint(id),
};

function pieces(
  text: string,
  stops: readonly string[],
  strip = false,
): { readonly shown: string[]; readonly answer: AnswerText } {
  const answer = new AnswerText(characters, stops, strip);
  const shown = characters.encode(text).map(id => answer.push(id));
  shown.push(answer.end());
  return { shown, answer };
}

describe("the text of an answer", () => {
  it("is shown as it comes when nothing stops it", () => {
    expect(pieces("a dog", []).shown).toEqual(["a", " ", "d", "o", "g", ""]);
  });

  it("holds back what may begin a stop text and gives it out when it does not", () => {
    expect(pieces("a\n\nUSE it", ["\n\nUSER:"]).shown).toEqual(["a", "", "", "", "", "", "\n\nUSE ", "i", "t", ""]);
  });

  it("ends before the stop text, and nothing after it is shown", () => {
    const { shown, answer } = pieces("red###blue", ["###"]);
    expect(shown.join("")).toBe("red");
    expect(answer.text).toBe("red");
    expect(answer.stopped).toBe(true);
  });

  it("is shown without the white space around it where that is asked for", () => {
    expect(pieces(" a  dog \n", [], true).shown).toEqual(["", "a", "", "", "  d", "o", "g", "", "", ""]);
    expect(pieces("\n red### blue", ["###"], true).shown.join("|")).toBe("||r|e|d|||||||||");
    const text = fc.string({ unit: fc.constantFrom(" ", "\n", "a", "b") });
    fc.assert(
      fc.property(text, given => {
        const { shown, answer } = pieces(given, [], true);
        expect(answer.text).toBe(given.trim());
        expect(shown.join("")).toBe(given.trim());
      }),
      { seed: 5 },
    );
  });

  it("is the text before the first stop text, whatever the pieces", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "c") });
    fc.assert(
      fc.property(letters, fc.array(letters, { maxLength: 3 }), (text, stops) => {
        const found = stops
          .filter(stop => stop !== "")
          .map(stop => text.indexOf(stop))
          .filter(at => at >= 0);
        // A stop text that ends earlier is seen first, even when another began before it.
        const { shown, answer } = pieces(text, stops);
        expect(shown.join("")).toBe(answer.text);
        expect(answer.stopped).toBe(found.length > 0);
        expect(text.startsWith(answer.text)).toBe(true);
        if (found.length === 0) expect(answer.text).toBe(text);
        for (const stop of stops) if (stop !== "") expect(answer.text).not.toContain(stop);
      }),
      { seed: 3 },
    );
  });
});
