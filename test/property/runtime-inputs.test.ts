import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { MmtrtError } from "../../src/diagnostics/index.ts";
import { readAccuracyFile } from "../../src/runtime/accuracy.ts";
import { decodeImage } from "../../src/runtime/image/decode.ts";
import { openImageProcessor, readPixelValues } from "../../src/runtime/image/load.ts";
import { readReference } from "../../src/runtime/reference.ts";
import { readInputIds } from "../../src/runtime/request.ts";
import { findChatTemplate, renderChat } from "../../src/runtime/text/chat.ts";
import { openTokenizer } from "../../src/runtime/text/tokenizer.ts";

const dir = mkdtempSync(join(tmpdir(), "mmtrt-fuzz-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function fixture(name: string): Buffer {
  return readFileSync(fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url)));
}

/** Bytes flipped at a few places, then cut. */
const damage = (length: number): fc.Arbitrary<(bytes: Buffer) => Buffer> =>
  fc
    .tuple(
      fc.array(fc.tuple(fc.nat(length - 1), fc.integer({ min: 1, max: 255 })), { maxLength: 4 }),
      fc.oneof({ weight: 3, arbitrary: fc.constant(length) }, fc.nat(length)),
    )
    .map(([flips, end]) => bytes => {
      const copy = Buffer.from(bytes);
      for (const [at, mask] of flips) copy[at] = (copy[at] as number) ^ mask;
      return copy.subarray(0, end);
    });

/** Whatever the bytes: a value, or a problem; never a TypeError or RangeError. */
async function expectWhole(
  name: string,
  source: Buffer,
  numRuns: number,
  use: (file: string) => Promise<unknown>,
): Promise<void> {
  const file = join(dir, name);
  await fc.assert(
    fc.asyncProperty(damage(source.length), async change => {
      writeFileSync(file, change(source));
      const error = await use(file).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      if (error !== undefined) expect(error).toBeInstanceOf(MmtrtError);
    }),
    { numRuns, seed: 17 },
  );
}

describe("damaged inputs of a request end in a value or a problem", () => {
  it.each(["gpt2", "llama-legacy", "unigram"])("tokenizer.json of %s, with text in and out", async name => {
    await expectWhole("tokenizer.json", fixture(`tokenizers/${name}/tokenizer.json`), 300, async () => {
      const tokenizer = await openTokenizer(dir);
      const ids = tokenizer.encode("Hello wörld <image> 123\n");
      return tokenizer.decode(ids.filter(id => Number.isSafeInteger(id)));
    });
  });

  it("a chat template", async () => {
    writeFileSync(join(dir, "tokenizer.json"), fixture("tokenizers/llama-metaspace/tokenizer.json"));
    const tokenizer = await openTokenizer(dir);
    await expectWhole(
      "chat_template.jinja",
      fixture("tokenizers/llama-metaspace/chat_template.jinja"),
      300,
      async () => {
        const template = await findChatTemplate(dir, tokenizer);
        return template && renderChat(template, [{ role: "user", content: [{ type: "text", text: "q" }] }], tokenizer);
      },
    );
  });

  it("an image processor", async () => {
    await expectWhole("processor_config.json", fixture("models/llava-shapes/processor_config.json"), 300, () =>
      openImageProcessor(dir),
    );
  });

  it.each(["rgb-61x43.png", "progressive.jpg", "lossy.webp", "palette.gif", "cmyk.jpg", "grey16.png"])(
    "the picture %s",
    async name => {
      await expectWhole(name, fixture(`image/${name}`), 60, decodeImage);
    },
  );

  it("pixel values and a reference", async () => {
    const source = fixture("parity/llava_mqa/reference.safetensors");
    await expectWhole("reference.safetensors", source, 100, readReference);
    await expectWhole("pixels.safetensors", source, 100, readPixelValues);
  });

  it("token ids and questions", async () => {
    await expectWhole("ids.json", Buffer.from("[[1, 29, 32000], [7, 8, 9]]"), 300, readInputIds);
    const line = '{"image": "a.png", "question": "which city is this?", "expected": "singapore"}\n';
    await expectWhole("questions.jsonl", Buffer.from(line.repeat(3)), 300, readAccuracyFile);
  });
});
