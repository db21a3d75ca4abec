import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { mergeLora } from "../../../src/checkpoint/lora/merge.ts";
import { openHf } from "../../../src/checkpoint/open.ts";
import { writeSafetensors } from "../../../src/formats/safetensors.ts";
import type { StoredTensor, TensorRecipe } from "../../../src/tensor/index.ts";
import { Workspace } from "../../support/pipeline.ts";
import { floats } from "../../support/tensors.ts";

const Q = "model.layers.0.self_attn.q_proj";
const work = new Workspace();
afterAll(() => work.clean());

/** Two shards: q [2, 3] in the first, a head [4, 3] and a bias in the second. The config is of no model that mmtrt knows. */
async function modelDir(): Promise<string> {
  const dir = await work.dir();
  const shards: Record<string, TensorRecipe[]> = {
    "model-00001-of-00002.safetensors": [floats(`${Q}.weight`, [2, 3], [1, 2, 3, 4, 5, 6])],
    "model-00002-of-00002.safetensors": [
      floats("lm_head.weight", [4, 3], new Array(12).fill(7)),
      floats(`${Q}.bias`, [2], [1, 1]),
    ],
  };
  const weight_map: Record<string, string> = {};
  for (const [file, tensors] of Object.entries(shards)) {
    await writeSafetensors(join(dir, file), tensors);
    for (const { name } of tensors) weight_map[name] = file;
  }
  await writeFile(join(dir, "model.safetensors.index.json"), JSON.stringify({ weight_map }));
  await writeFile(join(dir, "config.json"), JSON.stringify({ architectures: ["Unknown"], model_type: "unknown" }));
  return dir;
}

async function adapterDir(config: object, tensors: readonly TensorRecipe[]): Promise<string> {
  const dir = join(await work.dir(), "adapter");
  await mkdir(dir);
  await writeFile(
    join(dir, "adapter_config.json"),
    JSON.stringify({ peft_type: "LORA", r: 1, lora_alpha: 2, target_modules: ["q_proj"], ...config }),
  );
  await writeSafetensors(join(dir, "adapter_model.safetensors"), tensors);
  return dir;
}

const halves = [
  floats(`base_model.model.${Q}.lora_A.weight`, [1, 3], [1, 0, 2]),
  floats(`base_model.model.${Q}.lora_B.weight`, [2, 1], [1, 10]),
];
const valuesOf = async (tensor: StoredTensor | undefined): Promise<number[]> => {
  const bytes = Uint8Array.from((await tensor?.readRows(0, tensor.shape[0] ?? 1)) ?? []);
  return [...new Float32Array(bytes.buffer)];
};

describe("a merge", () => {
  it("adds alpha / r · B·A, replaces what was trained whole, and keeps the model's files", async () => {
    const [from, outputDir] = [await modelDir(), join(await work.dir(), "merged")];
    const whole = [
      floats("base_model.model.lm_head.weight", [4, 3], new Array(12).fill(9)),
      floats(`base_model.model.${Q}.bias`, [2], [3, 4]),
    ];
    const adapter = await adapterDir({ modules_to_save: ["lm_head"], bias: "lora_only" }, [...halves, ...whole]);
    const result = await mergeLora({ modelDir: from, adapterDir: adapter, outputDir });
    expect(result).toMatchObject({ added: 1, replaced: 2 });
    expect((await readdir(outputDir)).sort()).toEqual((await readdir(from)).sort());
    const index = JSON.parse(await readFile(join(outputDir, "model.safetensors.index.json"), "utf8"));
    expect(index.weight_map[`${Q}.bias`]).toBe("model-00002-of-00002.safetensors");
    const merged = await openHf(outputDir);
    expect(await valuesOf(merged.tensors.get(`${Q}.weight`))).toEqual([3, 2, 7, 24, 5, 46]);
    expect(await valuesOf(merged.tensors.get("lm_head.weight"))).toEqual(new Array(12).fill(9));
    expect(await valuesOf(merged.tensors.get(`${Q}.bias`))).toEqual([3, 4]);
    await merged.close();
  });

  it.each<[string, object, readonly TensorRecipe[], RegExp]>([
    [
      "a layer that the model has not",
      {},
      [...halves, floats("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight", [1, 3], [1, 1, 1])],
      /LRA005.*no weight for model\.layers\.1/s,
    ],
    ["half of a pair", {}, [halves[0] as TensorRecipe], /LRA006.*has no lora_B/s],
    ["another rank than the config's", { r: 2 }, halves, /LRA007.*expected \[2, 3\]/s],
    [
      "a head of another vocabulary",
      { modules_to_save: ["lm_head"] },
      [...halves, floats("base_model.model.lm_head.weight", [5, 3], new Array(15).fill(1))],
      /LRA007.*\[5, 3\].*\[4, 3\]/s,
    ],
  ])("refuses %s and leaves nothing behind", async (_, config, tensors, expected) => {
    const parent = await work.dir();
    const request = {
      modelDir: await modelDir(),
      adapterDir: await adapterDir(config, tensors),
      outputDir: join(parent, "merged"),
    };
    await expect(mergeLora(request)).rejects.toThrow(expected);
    expect(await readdir(parent)).toEqual([]);
  });

  it("refuses codes: an adapter is added to plain weights", async () => {
    const dir = await modelDir();
    await writeFile(join(dir, "config.json"), JSON.stringify({ quantization_config: { quant_method: "gptq" } }));
    const request = {
      modelDir: dir,
      adapterDir: await adapterDir({}, halves),
      outputDir: join(await work.dir(), "merged"),
    };
    await expect(mergeLora(request)).rejects.toThrow(/LRA017.*is quantized already/s);
  });
});
