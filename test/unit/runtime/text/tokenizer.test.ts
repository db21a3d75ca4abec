import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ChatMessage, findChatTemplate, renderChat } from "../../../../src/runtime/text/chat.ts";
import { TextStream } from "../../../../src/runtime/text/stream.ts";
import { openTokenizer } from "../../../../src/runtime/text/tokenizer.ts";
import { tempFolder } from "../../../support/temp-folder.ts";

interface Cases {
  readonly cases: readonly {
    readonly text: string;
    readonly ids: readonly number[];
    readonly plain: readonly number[];
    readonly decoded: string;
    readonly special: string;
  }[];
  readonly chats: readonly { readonly messages: readonly ChatMessage[]; readonly text: string }[];
}

const NAMES = ["gpt2", "llama3", "llama-legacy", "llama-metaspace", "unigram"] as const;

function dirOf(name: string): string {
  return fileURLToPath(new URL(`../../../fixtures/tokenizers/${name}`, import.meta.url));
}

function casesOf(name: string): Cases {
  return JSON.parse(readFileSync(join(dirOf(name), "cases.json"), "utf8")) as Cases;
}

describe.each(NAMES)("the %s tokenizer", name => {
  const { cases, chats } = casesOf(name);

  it("gives transformers' ids, with and without special tokens", async () => {
    const tokenizer = await openTokenizer(dirOf(name));
    // Unigram: segmentations of equal score tie, and the library may take another one of the same pieces.
    const order = (ids: readonly number[]): readonly number[] => (name === "unigram" ? ids.toSorted() : ids);
    for (const { text, ids, plain } of cases) {
      expect(order(tokenizer.encode(text)), JSON.stringify(text)).toEqual(order(ids));
      expect(order(tokenizer.encode(text, { addSpecialTokens: false })), JSON.stringify(text)).toEqual(order(plain));
    }
  });

  it("gives transformers' text for the ids", async () => {
    const tokenizer = await openTokenizer(dirOf(name));
    for (const { ids, decoded, special } of cases) {
      expect(tokenizer.decode(ids)).toBe(decoded);
      expect(tokenizer.decode(ids, { keepSpecialTokens: true })).toBe(special);
    }
  });

  it("streams pieces that add up to the text, and never half a character of a known text", async () => {
    const tokenizer = await openTokenizer(dirOf(name));
    for (const { ids, decoded } of cases) {
      const stream = new TextStream(tokenizer);
      const pieces = ids.map(id => stream.push(id));
      if (!decoded.includes("\ufffd")) expect(pieces.join("")).not.toContain("\ufffd");
      expect(pieces.join("") + stream.end()).toBe(decoded);
    }
  });

  it("streams any tokens whatever as decoding them at once would", async () => {
    const tokenizer = await openTokenizer(dirOf(name));
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 40 }), ids => {
        const stream = new TextStream(tokenizer);
        const text = ids.map(id => stream.push(id)).join("") + stream.end();
        expect(text).toBe(tokenizer.decode(ids));
      }),
      { numRuns: 300, seed: 7 },
    );
  });

  it.runIf(chats.length > 0)("renders its chat template as transformers does", async () => {
    const tokenizer = await openTokenizer(dirOf(name));
    const template = await findChatTemplate(dirOf(name), tokenizer);
    for (const { messages, text } of chats) {
      expect(await renderChat(template as NonNullable<typeof template>, messages, tokenizer)).toBe(text);
    }
  });
});

describe("tokenizer files", () => {
  const empty = (): string => tempFolder("tokenizer");

  it("asks for token ids when there is no tokenizer, and says how to make one of a SentencePiece model", async () => {
    const dir = empty();
    await expect(openTokenizer(dir)).rejects.toThrow(/RUN005.*--input_ids FILE/);
    writeFileSync(join(dir, "tokenizer.model"), "…");
    await expect(openTokenizer(dir)).rejects.toThrow(
      /RUN005.*tokenizer\.model but no tokenizer\.json.*save_pretrained/,
    );
  });

  it("refuses malformed and unknown tokenizers with a problem, never a bare TypeError", async () => {
    const valid = readFileSync(join(dirOf("gpt2"), "tokenizer.json"), "utf8");
    const broken = [
      "{}",
      '{"model":null,"decoder":1,"post_processor":2,"pre_tokenizer":3,"normalizer":4,"added_tokens":5}',
      valid.replace('"BPE"', '"Quantum"'),
      valid.replace('"ByteLevel"', '"Telepathy"'),
    ];
    for (const text of broken) {
      const dir = empty();
      writeFileSync(join(dir, "tokenizer.json"), text);
      await expect(openTokenizer(dir), text.slice(0, 40)).rejects.toThrow(/RUN006/);
    }
    const dir = empty();
    writeFileSync(join(dir, "tokenizer.json"), valid.slice(0, 1000));
    await expect(openTokenizer(dir)).rejects.toThrow(/CKP008/);
  });

  it("reports a template that does not parse or that raises, with its file", async () => {
    const tokenizer = await openTokenizer(dirOf("gpt2"));
    const messages: ChatMessage[] = [{ role: "user", content: "hi" }];
    for (const text of ["{% if %}", "{{ raise_exception('roles must alternate') }}"]) {
      const template = { file: "chat_template.jinja", text };
      await expect(renderChat(template, messages, tokenizer)).rejects.toThrow(/RUN007.*chat_template\.jinja/);
    }
  });

  it("finds the template in every place where Hugging Face puts it", async () => {
    const tokenizer = await openTokenizer(dirOf("gpt2"));
    const dir = empty();
    expect(await findChatTemplate(dir, tokenizer)).toBeUndefined();
    const named = [
      { name: "rag", template: "no" },
      { name: "default", template: "config" },
    ];
    const withConfig = { ...tokenizer, config: { chat_template: named } };
    expect(await findChatTemplate(dir, withConfig)).toMatchObject({ text: "config" });
    for (const [file, text] of [
      ["processor_config.json", '{"chat_template":"processor"}'],
      ["chat_template.json", '{"chat_template":"json"}'],
      ["chat_template.jinja", "jinja"],
    ] as const) {
      writeFileSync(join(dir, file), text);
      expect(await findChatTemplate(dir, withConfig)).toMatchObject({ file: join(dir, file) });
    }
  });
});
