import { afterAll, expect, it } from "vitest";
import { perplexityOf } from "../../src/runtime/perplexity.ts";
import { openSession } from "../../src/runtime/session.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir, referenceBatch } from "./runtime-fixtures.ts";

const work = new Workspace();
afterAll(() => work.clean());

it("is what prefilling every prefix of every text by itself gives, texts of any length side by side", async () => {
  const { prompts } = await referenceBatch("llama_tied_bias", "b3");
  const limits = { max_batch_size: 3, max_input_len: 32, max_seq_len: 64 };
  const engine = await buildTo(work, await convertTo(work, fixtureDir("parity/llama_tied_bias")), limits);
  const session = await openSession(engine, { threads: 1 });
  let [loss, tokens] = [0, 0];
  for (const prompt of prompts) {
    for (let at = 1; at < prompt.length; at++) {
      const { logits } = await session.prefill([prompt.slice(0, at)]);
      const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
      loss -= (logits[prompt[at] as number] as number) - Math.log(sum);
      tokens += 1;
    }
  }
  // A text of one token predicts nothing; batches of two leave one text over.
  const found = await perplexityOf(session, [...prompts, [5]], 2);
  await session.close();
  expect(found.tokens).toBe(tokens);
  expect(Math.log(found.perplexity)).toBeCloseTo(loss / tokens, 3);
});
