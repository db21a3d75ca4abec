import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { sha256 } from "../../../src/build/fingerprint.ts";
import { openHf } from "../../../src/checkpoint/open.ts";
import { convertTo, Workspace } from "../../support/pipeline.ts";
import { splitLanguage } from "../../support/split-language.ts";

const FIXTURES = new URL("../../fixtures/", import.meta.url).pathname;
const work = new Workspace();
afterAll(() => work.clean());

/** SHA-256 of every file of weights in a converted checkpoint, by name. */
async function weightsOf(dir: string): Promise<Record<string, string>> {
  const names = (await readdir(dir, { recursive: true })).filter(name => name.endsWith(".safetensors")).sort();
  return Object.fromEntries(
    await Promise.all(names.map(async name => [name, sha256(await readFile(join(dir, name)))] as const)),
  );
}

async function editJson(file: string, change: Readonly<Record<string, unknown>>): Promise<void> {
  const json = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
  await writeFile(file, JSON.stringify({ ...json, ...change }));
}

describe("a language model in a directory of its own", () => {
  it.each([
    ["parity/blip2_opt", "OPTForCausalLM"],
    ["parity/blip2_sparse", "OPTForCausalLM"],
    ["parity/blip2t5_gated", "T5ForConditionalGeneration"],
    ["parity/llava_qwen2", "Qwen2ForCausalLM"],
  ])("gives with the visual part of %s the bytes of the whole checkpoint", async (model, architecture) => {
    const whole = join(FIXTURES, model);
    const { see, speak } = await splitLanguage(whole, await work.dir(), architecture);
    const joined = await convertTo(work, see, "float32", { llmDir: speak });
    expect(await weightsOf(joined)).toEqual(await weightsOf(await convertTo(work, whole, "float32")));
  });

  it("brings its tokenizer, and leaves image processor and special ids to the visual part", async () => {
    const { see, speak } = await splitLanguage(
      join(FIXTURES, "models/blip2-opt-shapes"),
      await work.dir(),
      "OPTForCausalLM",
    );
    await editJson(join(speak, "tokenizer_config.json"), { mine: true });
    await editJson(join(speak, "config.json"), { eos_token_id: 3 });
    const checkpoint = await convertTo(work, see, "float32", { llmDir: speak });
    const tokenizer = JSON.parse(await readFile(join(checkpoint, "tokenizer/tokenizer_config.json"), "utf8")) as object;
    expect(tokenizer).toHaveProperty("mine", true);
    expect(await readdir(join(checkpoint, "tokenizer"))).toContain("preprocessor_config.json");
    const config = JSON.parse(await readFile(join(checkpoint, "hf_config.json"), "utf8")) as Record<string, unknown>;
    const own = JSON.parse(await readFile(join(see, "config.json"), "utf8")) as {
      text_config: { eos_token_id: number };
    };
    expect(config.text_config).toHaveProperty("eos_token_id", own.text_config.eos_token_id);
    expect(config).not.toHaveProperty("image_token_index");
  });

  it.each([
    ["hidden_size", { hidden_size: 32 }, /hidden_size 32, and language_projection.weight gives features of 28/],
    ["another vocabulary", { vocab_size: 5000 }, /vocab_size 5000, and .*see was trained with 83/],
  ])("is refused for %s", async (_, change, message) => {
    const { see, speak } = await splitLanguage(join(FIXTURES, "parity/blip2_opt"), await work.dir(), "OPTForCausalLM");
    await editJson(join(speak, "config.json"), change);
    await expect(openHf(see, { llmDir: speak })).rejects.toThrow(message);
    await expect(openHf(see, { llmDir: speak })).rejects.toThrow(/CKP070.*config\.json \(--llm_dir\)/s);
  });

  it("is refused when it is of another family, or lacks LLaVA's image token", async () => {
    const llava = await splitLanguage(join(FIXTURES, "parity/llava_qwen2"), await work.dir(), "Qwen2ForCausalLM");
    await expect(openHf(llava.see, { llmDir: join(FIXTURES, "parity/opt_pre") })).rejects.toThrow(
      /CKP070.*has model_type opt, and the language model of .*see qwen2/s,
    );
    await editJson(join(llava.speak, "config.json"), { vocab_size: 82 });
    await expect(openHf(llava.see, { llmDir: llava.speak })).rejects.toThrow(
      /CKP070.*ids 0…81, and the image token is 82/s,
    );
  });

  it("is refused beside a checkpoint that has no part to exchange", async () => {
    const llama = join(FIXTURES, "parity/llama_gqa");
    await expect(openHf(llama, { llmDir: llama })).rejects.toThrow(/CKP070.*no text_config/s);
  });
});
