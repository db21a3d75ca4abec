import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { fixtureDir } from "../parity/runtime-fixtures.ts";

const BATCH = 10;

interface Answer {
  readonly image?: string;
  readonly images?: readonly string[];
  readonly question: string;
  readonly text: string;
}

/** The questions of a trained model with transformers' answers to them: every one of them right. */
export async function heldOut(name: string): Promise<readonly Answer[]> {
  const file = join(fixtureDir(`models/${name}`), "heldout", "expected_hf.json");
  return (JSON.parse(await readFile(file, "utf8")) as { readonly answers: readonly Answer[] }).answers;
}

/** How many of the answers an engine gives word for word. */
export async function rightAnswers(engine: string, name: string, answers: readonly Answer[]): Promise<number> {
  const assistant = await Assistant.open(engine, { threads: 2 });
  try {
    let right = 0;
    for (let first = 0; first < answers.length; first += BATCH) {
      const batch = answers.slice(first, first + BATCH);
      const questions = await Promise.all(
        batch.map(async ({ question, image, images = image === undefined ? [] : [image] }) => ({
          ids: await assistant.promptIds(question, images.length, "auto"),
          pixels: await Promise.all(
            images.map(file => assistant.image(join(fixtureDir(`models/${name}`), "heldout", file))),
          ),
        })),
      );
      const got = await assistant.ask(questions, { generate: { ...GENERATE_DEFAULTS, maxNewTokens: 30 }, at: "test" });
      right += got.answers.filter(({ text }, i) => text?.trim() === batch[i]?.text).length;
    }
    return right;
  } finally {
    await assistant.close();
  }
}
