import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url).pathname;
const ADAPTERS = ["llava-shapes-noun-first", "llava-shapes-terse"].map(name => join(FIXTURES, "lora", name));
/** As of the training in PyTorch. */
const LEAST = 0.97;

interface Case {
  readonly image: string;
  readonly question: string;
  readonly expected: string;
}

const work = new Workspace();
afterAll(() => work.clean());

function casesOf(dir: string): readonly Case[] {
  const lines = readFileSync(join(dir, "questions.jsonl"), "utf8").trim().split("\n");
  return lines.map(line => JSON.parse(line) as Case);
}

/** "a circle red left of a square orange" → "a red circle left of an orange square". */
function inEnglish(answer: string): string {
  return answer.replace(
    /a (\w+) (red|green|blue|yellow|purple|orange)/g,
    (_, kind, colour) => `${colour === "orange" ? "an" : "a"} ${colour} ${kind}`,
  );
}

it("three captions of one picture in a batch: by the first adapter, by the model itself, by the second", async () => {
  const checkpoint = await convertTo(work, join(FIXTURES, "models/llava-shapes"), "float32");
  const limits = { max_batch_size: 3, max_input_len: 120, max_seq_len: 160, max_lora_rank: 12 };
  const assistant = await Assistant.open(await buildTo(work, checkpoint, { ...limits, lora_dir: ADAPTERS }), {
    threads: 2,
  });
  const [first, second] = ADAPTERS.map(casesOf) as [readonly Case[], readonly Case[]];
  expect(first).toHaveLength(60);
  const right = [0, 0, 0];
  for (const [i, { image, question, expected }] of first.entries()) {
    const ids = await assistant.promptIds(question, 1, "auto");
    const pixels = [await assistant.image(join(ADAPTERS[0] as string, image))];
    const questions = [0, -1, 1].map(task => ({ ids, pixels, task }));
    const { answers } = await assistant.ask(questions, {
      generate: { ...GENERATE_DEFAULTS, maxNewTokens: 40 },
      at: image,
    });
    const wanted = [expected, inEnglish(expected), second[i]?.expected];
    for (const [row, text] of wanted.entries())
      if (answers[row]?.text?.trim() === text) right[row] = (right[row] as number) + 1;
  }
  await assistant.close();
  for (const [row, count] of right.entries())
    expect(count / first.length, `row ${row}: ${count} of ${first.length}`).toBeGreaterThanOrEqual(LEAST);
}, 240_000);
