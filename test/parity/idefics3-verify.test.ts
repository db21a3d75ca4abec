import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { Assistant } from "../../src/runtime/assistant.ts";
import { readReference } from "../../src/runtime/reference.ts";
import { verify } from "../../src/runtime/verify.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

const MODEL = fixtureDir("parity/idefics3_chat");
const work = new Workspace();
afterAll(() => work.clean());

it("verify finds every stage of a tiled picture equal: pixels, tower, prompt, layers, tokens", async () => {
  const checkpoint = await convertTo(work, MODEL, "float32");
  const assistant = await Assistant.open(
    await buildTo(work, checkpoint, { max_batch_size: 1, max_input_len: 160, max_seq_len: 200 }),
    { threads: 1 },
  );
  const reference = await readReference(join(MODEL, "verify.safetensors"));
  const { signal } = new AbortController();
  const stages = await verify({ assistant, reference, tolerance: undefined, ort: { threads: 1 }, signal });
  const states = Object.fromEntries(stages.map(({ stage, state }) => [stage, state]));
  const equal = ["preprocess", "projector", "prompt", "layer 0", "logits", "tokens"];
  expect(states).toMatchObject(Object.fromEntries(equal.map(stage => [stage, "equal"])));
  expect(stages.filter(({ state }) => state === "differs")).toEqual([]);
  await assistant.close();
});
