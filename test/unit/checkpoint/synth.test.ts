import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openHf } from "../../../src/checkpoint/open.ts";
import { findPublished } from "../../../src/checkpoint/published.ts";
import { drawOf, randomTensor } from "../../../src/checkpoint/random-tensor.ts";
import { type SynthRequest, synth } from "../../../src/checkpoint/synth.ts";
import { synthConfig } from "../../../src/checkpoint/synth-presets.ts";
import { readModel } from "../../../src/models/registry.ts";
import { recipeBytes } from "../../../src/tensor/index.ts";

const LLAMA_TINY = (await findPublished("llama-tiny", "--preset")).config;

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "mmtrt-synth-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

function request(name: string, more: Partial<SynthRequest> = {}): SynthRequest {
  return {
    config: LLAMA_TINY,
    dtype: "float16",
    seed: 7,
    maxShardSize: 1e9,
    outputDir: join(root, name),
    ...more,
  };
}

describe("synth", () => {
  it("writes the same bytes for the same seed, others for another, whatever the shards", async () => {
    await synth(request("a"));
    await synth(request("b"));
    await synth(request("c", { seed: 8 }));
    const [a, b, c] = await Promise.all(["a", "b", "c"].map(name => readFile(join(root, name, "model.safetensors"))));
    expect(a?.equals(b as Buffer)).toBe(true);
    expect(a?.equals(c as Buffer)).toBe(false);
    const { files } = await synth(request("shards", { maxShardSize: 50_000 }));
    expect(files.length).toBeGreaterThan(2);
    const [whole, sharded] = [await openHf(join(root, "a")), await openHf(join(root, "shards"))];
    expect([...sharded.tensors.keys()].sort()).toEqual([...whole.tensors.keys()].sort());
    for (const [name, tensor] of whole.tensors) {
      const rows = tensor.shape[0] as number;
      expect(await sharded.tensors.get(name)?.readRows(0, rows)).toEqual(await tensor.readRows(0, rows));
    }
    await Promise.all([whole.close(), sharded.close()]);
  });

  it("leaves nothing when stopped, and refuses a directory that is not empty", async () => {
    const controller = new AbortController();
    const stopped = request("stopped", {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error("stopped")),
    });
    await expect(synth(stopped)).rejects.toThrow("stopped");
    await synth(request("full"));
    await expect(synth(request("full"))).rejects.toThrow("CKP046");
    expect((await readdir(root)).filter(name => name.startsWith("stopped"))).toEqual([]);
  });
});

describe("random tensors", () => {
  it.each(["float16", "bfloat16", "float32"] as const)("are the same in any bands (%s)", async dtype => {
    const recipe = randomTensor("w", dtype, [131, 97], { mean: 0, std: 1 }, 3);
    const whole = Buffer.from(await recipe.readRows(0, 131));
    for (const band of [1, 1999, 1 << 20]) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of recipeBytes(recipe, band)) chunks.push(chunk);
      expect(Buffer.concat(chunks).equals(whole)).toBe(true);
    }
  });

  it("have the mean, spread and tails of a normal distribution, and no equal neighbours", async () => {
    const recipe = randomTensor("w", "float32", [1 << 18], { mean: 3, std: 2 }, 0);
    const bytes = new Uint8Array(await recipe.readRows(0, 1 << 18));
    const values = new Float32Array(bytes.buffer, bytes.byteOffset, 1 << 18);
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
    expect(mean).toBeCloseTo(3, 1);
    expect(Math.sqrt(variance)).toBeCloseTo(2, 1);
    const beyond = (sigmas: number): number => values.filter(x => Math.abs(x - 3) > sigmas * 2).length / values.length;
    expect(beyond(1)).toBeCloseTo(0.3173, 2);
    expect(beyond(2)).toBeCloseTo(0.0455, 2);
    expect(beyond(3)).toBeCloseTo(0.0027, 3);
    expect(values.filter((x, i) => x === values[i + 1]).length / values.length).toBeLessThan(1e-3);
  });

  it("are scaled so that activations keep their size", () => {
    expect(drawOf("model.layers.0.mlp.down_proj.weight", [48, 400])).toEqual({ mean: 0, std: 1 / 20 });
    expect(drawOf("model.layers.0.input_layernorm.weight", [48]).mean).toBe(1);
    expect(drawOf("vision_tower.vision_model.pre_layrnorm.weight", [48]).mean).toBe(1);
    expect(drawOf("vision_tower.vision_model.encoder.layers.0.layer_norm1.bias", [48]).mean).toBe(0);
  });
});

describe("presets", () => {
  const choice = {
    base: undefined,
    preset: undefined,
    architecture: "LlavaForConditionalGeneration",
    reduction: { layers: undefined, shrink: 1 },
    sizes: {},
    origin: (key: string) => `--${key}`,
  };

  it("are chosen by name or architecture, and single sizes replaced in the language model", async () => {
    expect(await synthConfig(choice)).toEqual((await findPublished("llava-1.5-7b", "")).config);
    expect((await synthConfig({ ...choice, sizes: { num_hidden_layers: 2 } })).text_config).toMatchObject({
      num_hidden_layers: 2,
      hidden_size: 4096,
    });
    expect(await synthConfig({ ...choice, preset: "llama-tiny", sizes: { vocab_size: 7 } })).toMatchObject({
      vocab_size: 7,
      hidden_size: 48,
    });
  });

  it("take a size under the name it has in the model's own config.json", async () => {
    const sizes = { hidden_size: 38, num_hidden_layers: 3, num_attention_heads: 19, intermediate_size: 97 };
    const made = async (preset: string): Promise<object> => synthConfig({ ...choice, preset, sizes });
    expect(await made("gpt2")).toMatchObject({ n_embd: 38, n_layer: 3, n_head: 19, n_inner: 97 });
    expect(await made("t5-small")).toMatchObject({ d_model: 38, num_layers: 3, num_decoder_layers: 3, num_heads: 19 });
    expect(await made("opt-125m")).toMatchObject({ hidden_size: 38, word_embed_proj_dim: 38, ffn_dim: 97 });
    expect(await made("opt-350m")).toMatchObject({ hidden_size: 38, word_embed_proj_dim: 512 });
    expect(await made("nougat-small")).toMatchObject({ decoder: { d_model: 38, decoder_layers: 3 } });
    expect(await made("vila-7b")).toMatchObject({ llm_cfg: { hidden_size: 38, intermediate_size: 97 } });
  });

  it("refuse a size that the model has not", async () => {
    await expect(synthConfig({ ...choice, preset: "t5-small", sizes: { num_key_value_heads: 2 } })).rejects.toThrow(
      /CKP064.*t5 has no num_key_value_heads/,
    );
    await expect(synthConfig({ ...choice, preset: "gpt5" })).rejects.toThrow(/CKP057.*gpt5.*--preset/);
  });

  it("become smaller in every part, with heads as wide and widths that fit together", async () => {
    const smaller = async (preset: string, layers: number, shrink: number) =>
      readModel(await synthConfig({ ...choice, preset, reduction: { layers, shrink } })).spec;
    const llama = await smaller("llama-3-70b", 3, 9);
    expect(llama.language).toMatchObject({ layers: 3, heads: 7, kvHeads: 1, headDim: 128, hiddenSize: 896 });
    const blip2 = await smaller("blip2-flan-t5-xl", 1, 1000);
    expect(blip2.language).toMatchObject({ layers: 1, heads: 1, headDim: 64, hiddenSize: 64, intermediateSize: 160 });
    expect(blip2.vision).toMatchObject({ runLayers: 2, heads: 1, hiddenSize: 88, intermediateSize: 384 });
    expect(blip2.qformer).toMatchObject({ layers: 1, heads: 1, hiddenSize: 64, encoderSize: 88 });
    const vila = await smaller("vila1.5-3b", 2, 19);
    expect(vila.vision).toMatchObject({ layers: 2, runLayers: 1, hiddenSize: 72 });
    expect(vila.projector).toMatchObject({ outputSize: 128 });
    const qwen = await smaller("qwen2.5-vl-7b-instruct", 2, 4);
    expect(qwen.language).toMatchObject({ layers: 2, heads: 7, kvHeads: 1, headDim: 128, hiddenSize: 896 });
    expect(qwen.packedVision).toMatchObject({ layers: 2, heads: 4, hiddenSize: 320, outputSize: 896 });
    expect(qwen.packedVision?.windows?.fullLayers).toEqual([1]);
    const qwen2 = await smaller("qwen2-vl-2b-instruct", 1, 3);
    expect(qwen2.packedVision).toMatchObject({
      layers: 2,
      heads: 5,
      hiddenSize: 400,
      intermediateSize: 1600,
      outputSize: 512,
    });
    const qwen3 = await smaller("qwen3-vl-4b-instruct", 1, 8);
    expect(qwen3.language).toMatchObject({ layers: 1, heads: 4, deepstackLevels: 1 });
    expect(qwen3.packedVision).toMatchObject({ layers: 2, heads: 2, outputSize: 320, deepstackLayers: [1] });
    const nougat = await smaller("nougat-base", 1, 3);
    expect(nougat.swin).toMatchObject({ depths: [2, 2, 2, 2], heads: [1, 2, 4, 8], embedSize: 32, hiddenSize: 256 });
    expect(nougat.language).toMatchObject({ heads: 4, hiddenSize: 256, layers: 1 });
  });
});
