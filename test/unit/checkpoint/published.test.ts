import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { findPublished, publishedModels, smallestOf } from "../../../src/checkpoint/published.ts";
import { parameterCount } from "../../../src/checkpoint/stored-tensors.ts";
import { featureRange } from "../../../src/models/parts/visual-tokens.ts";
import { readModel } from "../../../src/models/registry.ts";
import { tableSchema } from "../../../src/options/schema.ts";
import { planOptions } from "../../../src/options/tables/plan.ts";
import { ROOT } from "../../support/sources.ts";

const models = await publishedModels();
const validate = new Ajv2020({ allErrors: true }).compile(tableSchema(planOptions));

/** Parameters as the model cards on the Hugging Face Hub round them, with units. */
const CARDS: Readonly<Record<string, string>> = {
  "blip2-flan-t5-xl": "3.94B",
  "blip2-flan-t5-xxl": "12.2B",
  "blip2-opt-2.7b": "3.74B",
  "blip2-opt-6.7b": "7.75B",
  "flan-t5-xl": "2.85B",
  "gemma-2-2b-it": "2.61B",
  "gemma-2-9b-it": "9.24B",
  "gemma-3-1b-it": "1.00B",
  "gemma-3-4b-it": "4.30B",
  "internlm2_5-7b-chat": "7.74B",
  "llama-1.1b": "1.10B",
  "llama-2-13b": "13.0B",
  "llama-2-70b": "69.0B",
  "llama-2-7b": "6.74B",
  "llama-3-70b": "70.6B",
  "llama-3-70b-gradient-1048k": "70.6B",
  "llama-3-8b": "8.03B",
  "llama-3-8b-gradient-1048k": "8.03B",
  "llava-1.5-13b-hf": "13.4B",
  "llava-1.5-7b-hf": "7.06B",
  "mistral-7b-v0.3": "7.25B",
  "nougat-base": "349M",
  "nougat-small": "247M",
  "paligemma-3b-mix-224": "2.92B",
  "paligemma2-3b-mix-224": "3.03B",
  "phi-3-mini-4k-instruct": "3.82B",
  "qwen2-7b": "7.62B",
  "qwen3-0.6b": "0.60B",
  "qwen3-8b": "8.19B",
  "smollm3-3b": "3.08B",
  "t5-small": "60.5M",
};

describe("the models of configs/models", () => {
  it("are one file each under the model's name, and no name is taken twice", async () => {
    const files = (await readdir(join(ROOT, "configs/models"))).sort();
    expect(files).toEqual(models.map(({ name }) => `${name}.yaml`).sort());
    const names = models.flatMap(({ name, aliases, hub }) => [name, ...aliases, ...(hub === null ? [] : [hub])]);
    expect(names.length).toBeGreaterThan(60);
    expect(new Set(names.map(name => name.toLowerCase())).size).toBe(names.length);
  });

  it("hold the families that the guides speak of", () => {
    for (const name of ["blip2-opt-2.7b", "blip2-flan-t5-xxl", "llava-1.5-13b-hf", "vila-7b", "nougat-small", "gpt2"])
      expect(models.map(model => model.name)).toContain(name);
  });

  describe.each(models)("$name", model => {
    const known = readModel(model.config);

    it("has a config that convert reads without a warning", () => {
      expect(known.warnings).toEqual([]);
    });

    it("has as many parameters and visual features as were counted elsewhere", () => {
      expect(parameterCount(known)).toBe(model.parameters);
      // Of images that are cut up, the most that one brings.
      const most = featureRange(known.spec).most || (known.spec.swin?.numVisualFeatures ?? 0);
      expect(most).toBe(model.num_visual_features);
    });

    it("recommends options that plan has, with values that it takes", () => {
      expect(validate(model.build), JSON.stringify(validate.errors)).toBe(true);
      expect(model.why).toMatch(/\.$/);
    });
  });

  it.each(Object.entries(CARDS))("%s rounds to the %s of its model card", (name, card) => {
    const { parameters = 0 } = models.find(model => model.name === name) ?? {};
    const unit = card.endsWith("B") ? 1e9 : 1e6;
    const digits = card.split(".")[1]?.length ?? 1;
    expect((parameters / unit).toFixed(digits - 1)).toBe(card.slice(0, -1));
  });
});

describe("a model", () => {
  it("is found by name, alias and Hub name, whatever the case", async () => {
    for (const name of ["llava-1.5-7b-hf", "LLaVA-1.5-7B", "llava-hf/llava-1.5-7b-hf"])
      expect((await findPublished(name, "--model")).name).toBe("llava-1.5-7b-hf");
  });

  it("that is not known is refused with the nearest name and the list", async () => {
    await expect(findPublished("llava-1.5-7b-hff", "--model (command line)")).rejects.toThrow(
      /CKP057.*llava-1\.5-7b-hff.*did you mean llava-1\.5-7b-hf\? Known: bart-large-cnn, blip2-flan-t5-xl,/,
    );
    await expect(findPublished("zzzzzzzzzzzz", "--model")).rejects.toThrow(/CKP057(?!.*did you mean)/);
    await expect(smallestOf("FuyuForCausalLM", "--architecture")).rejects.toThrow(/CKP057.*FuyuForCausalLM/);
  });

  it("of a class is its smallest published one", async () => {
    expect((await smallestOf("LlamaForCausalLM", "")).name).toBe("llama-1.1b");
    expect((await smallestOf("LlavaForConditionalGeneration", "")).name).toBe("llava-1.5-7b-hf");
    expect((await smallestOf("Blip2ForConditionalGeneration", "")).name).toBe("blip2-opt-2.7b");
  });
});
