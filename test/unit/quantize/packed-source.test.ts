import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { expectClose } from "../../support/expect-close.ts";
import {
  about,
  asked,
  type Config,
  edited,
  GPTQ,
  gptqInPlaceOf,
  halves,
  LAYER,
  PACKED,
  problemsOf,
  readAll,
  scalarOf,
  type Tensors,
  TRAINED,
  weightsOf,
} from "../../support/packed.ts";
import { convertTo, Workspace } from "../../support/pipeline.ts";
import { floats, inMemory } from "../../support/tensors.ts";

const work = new Workspace();
afterAll(() => work.clean());

const parallel = (tpSize: number, ppSize = 1) => ({
  parallel: { tpSize, ppSize, parallelEmbedding: false, embeddingShardingDim: 0 as const, shareEmbedding: false },
});

const FULL = asked({ qformat: "full_prec" });

const change = (name: string, how: (config: Config, tensors: Tensors) => Config | undefined): Promise<string> =>
  edited(work, join(PACKED, name), how);

const withConfig = (name: string, quantization: object): Promise<string> =>
  change(name, config => ({ ...config, quantization_config: quantization }));

describe("a quantized checkpoint over two ranks", () => {
  it.each(["gptq_asym", "gptq_v2", "gptq_int8", "awq_asym", "compressed_w4", "compressed_w8a8"])(
    "%s has on each rank the codes of that rank's float weights",
    async name => {
      const [packed, plain] = [
        await weightsOf(await convertTo(work, join(PACKED, name), "float32", parallel(2))),
        await weightsOf(await convertTo(work, join(PACKED, name), "float32", { ...parallel(2), ...FULL })),
      ];
      expect(packed.length).toBe(2);
      for (const [rank, modules] of packed.entries()) {
        expect([...modules.keys()].sort()).toEqual([...plain[rank]!.keys()].sort());
        for (const [module, weight] of modules)
          expectClose(weight, plain[rank]!.get(module)!, 1e-6, `${rank} ${module}`);
      }
    },
  );

  it("is stored in smaller groups where a group would lie on two ranks, and says so", async () => {
    const { spec, notes } = await about(await convertTo(work, join(PACKED, "gptq_asym"), "float32", parallel(2)));
    // down_proj's 96 inputs are 48 on a rank, o_proj's 32 are 16.
    expect(spec?.groupSize).toBe(16);
    expect(notes).toEqual(["the quantized weights are stored otherwise"]);
    expect((await about(await convertTo(work, join(PACKED, "gptq_asym"), "float32"))).notes).toEqual([]);
  });

  it("is refused where no whole group is left on a rank", async () => {
    const dir = await change("gptq_asym", (config, tensors) => {
      gptqInPlaceOf(tensors, `${LAYER}mlp.gate_proj`, [40, 32], 8);
      gptqInPlaceOf(tensors, `${LAYER}mlp.up_proj`, [40, 32], 8);
      gptqInPlaceOf(tensors, `${LAYER}mlp.down_proj`, [32, 40], 8);
      for (const name of ["q", "k", "v", "o"])
        gptqInPlaceOf(tensors, `${LAYER}self_attn.${name}_proj`, [name === "k" || name === "v" ? 16 : 32, 32], 8);
      for (const name of tensors.keys()) if (name.endsWith("g_idx")) tensors.delete(name);
      return { ...config, intermediate_size: 40, quantization_config: { ...GPTQ, group_size: 8 } };
    });
    expect(await problemsOf(work, dir)).toEqual([
      expect.stringMatching(/^CKP083 .*in groups of 8; tp_size 1 leaves no whole groups/),
    ]);
  });
});

describe("codes in a float model's place", () => {
  const packed = (model: string, group: number): Promise<string> =>
    edited(work, join(TRAINED, model), (config, tensors) => {
      for (const { name, shape } of [...tensors.values()]) {
        const module = /^(language_model\..*\.(?:\w+_proj|c_attn|c_fc))\.weight$/.exec(name)?.[1];
        if (module === undefined) continue;
        const [a = 0, b = 0] = shape;
        gptqInPlaceOf(tensors, module, model.startsWith("gpt2") ? [b, a] : [a, b], group);
      }
      return { ...config, quantization_config: { ...GPTQ, group_size: group } };
    });

  it.each([
    ["llava-shapes", 32],
    ["gpt2-shapes", 16],
  ] as const)("%s: the language model has them, the image encoder stays float", async (model, group) => {
    const dir = await packed(model, group);
    const [codes, plain] = [await convertTo(work, dir, "float32"), await convertTo(work, dir, "float32", FULL)];
    expect((await about(codes)).spec).toMatchObject({ quantAlgo: "W4A16_GPTQ", groupSize: group, hasZeroPoint: true });
    const [[a], [b]] = [await weightsOf(codes), await weightsOf(plain)];
    expect(a!.size).toBeGreaterThan(4);
    for (const [module, weight] of a!) expectClose(weight, b!.get(module)!, 1e-6, module);
    const visual = (at: string): Promise<Buffer> => readFile(join(at, "visual", "model.safetensors"));
    expect((await visual(codes)).equals(await visual(await convertTo(work, join(TRAINED, model), "float32")))).toBe(
      true,
    );
  });
});

describe("layers that are left out", () => {
  const inFloat =
    (...modules: readonly string[]) =>
    (config: Config, tensors: Tensors) => {
      for (const module of modules) {
        const [k = 0, n = 0] = tensors.get(`${module}.qweight`)?.shape ?? [];
        for (const part of ["qweight", "qzeros", "scales", "g_idx"]) tensors.delete(`${module}.${part}`);
        tensors.set(
          `${module}.weight`,
          halves(`${module}.weight`, [n, k * 8], i => 0x2000 + (i & 1023)),
        );
      }
      return config;
    };

  it("stay float, by name where every layer's is", async () => {
    const dir = await convertTo(work, await change("gptq_asym", inFloat(`${LAYER}mlp.down_proj`)), "float32");
    const { spec, notes } = await about(dir);
    expect(spec?.excludeModules).toEqual(["lm_head", "mlp.proj"]);
    expect(notes).toEqual([
      "1 linear layers are stored in float beside 4 quantized ones: transformer.layers.0.mlp.proj",
    ]);
    expect([...(await weightsOf(dir))[0]!.keys()]).toContain("transformer.layers.0.mlp.proj");
  });

  it("make q, k and v float when one of them is", async () => {
    const model = await change("gptq_asym", inFloat(`${LAYER}self_attn.v_proj`));
    const dir = await convertTo(work, model, "float32");
    expect((await about(dir)).spec?.excludeModules).toEqual(["lm_head", "attention.qkv"]);
    const [[mixed], [plain]] = [await weightsOf(dir), await weightsOf(await convertTo(work, model, "float32", FULL))];
    for (const [module, weight] of mixed!) expectClose(weight, plain!.get(module)!, 1e-6, module);
  });

  it("become float when the checkpoint's form has them float, with a note: lm_head", async () => {
    const dir = await change("gptq_asym", (config, tensors) => {
      gptqInPlaceOf(tensors, "lm_head", [19, 32], 32);
      return { ...config, tie_word_embeddings: false };
    });
    const out = await convertTo(work, dir, "float16");
    expect((await about(out)).notes).toEqual(["1 quantized layers are stored in float: lm_head.weight"]);
    expect((await readAll(join(out, "rank0.safetensors"))).get("lm_head.weight")).toMatchObject({
      dtype: "float16",
      shape: [19, 32],
    });
  });
});

describe("what engines have no form for", () => {
  const group = { num_bits: 8, type: "int", strategy: "group", group_size: 32, symmetric: true, dynamic: false };
  const float = { num_bits: 8, type: "float", strategy: "tensor", symmetric: true, dynamic: false };
  const compressed = (weights: object, inputs: object | null, format: string): object => ({
    quant_method: "compressed-tensors",
    format,
    config_groups: { group_0: { targets: ["Linear"], weights, input_activations: inputs } },
  });

  it("INT8 in groups becomes float, with the reason", async () => {
    const dir = await change("compressed_w8a8", (config, tensors) => {
      for (const { name, shape } of [...tensors.values()])
        if (name.endsWith("weight_scale")) {
          const k = tensors.get(name.replace(/_scale$/, ""))?.shape[1] ?? 0;
          tensors.set(
            name,
            halves(name, [shape[0] ?? 0, k / 32], i => 0x1c00 + (i & 255)),
          );
        }
      return { ...config, quantization_config: compressed(group, null, "int-quantized") };
    });
    const { spec, notes } = await about(await convertTo(work, dir, "float32"));
    expect(spec).toBeUndefined();
    expect(notes).toEqual(["the quantized weights are turned back into float numbers"]);
  });

  it("INT8 with zero points of its inputs keeps its weights and leaves the inputs float", async () => {
    const inputs = { ...group, strategy: "tensor", symmetric: false };
    const weights = { ...group, strategy: "channel" };
    const dir = await change("compressed_static", (config, tensors) => {
      const name = `${LAYER}mlp.up_proj.input_zero_point`;
      tensors.set(name, inMemory(name, "int8", [1], Uint8Array.of(3)));
      return { ...config, quantization_config: compressed(weights, inputs, "int-quantized") };
    });
    const { spec, notes } = await about(await convertTo(work, dir, "float32"));
    expect(spec?.quantAlgo).toBe("W8A16");
    expect(notes).toEqual(["the quantized weights are stored otherwise"]);
    const symmetric = await edited(work, dir, config => ({
      ...config,
      quantization_config: compressed(weights, { ...inputs, symmetric: true }, "int-quantized"),
    }));
    expect(await problemsOf(work, symmetric)).toEqual([expect.stringMatching(/^CKP092 .*input_zero_point is not 0/)]);
  });

  it("FP8 without stored scales of inputs becomes float", async () => {
    const dir = await change("modelopt_fp8", (config, tensors) => {
      for (const name of [...tensors.keys()]) if (name.endsWith("input_scale")) tensors.delete(name);
      const inputs = { ...float, strategy: "token", dynamic: true };
      return { ...config, quantization_config: compressed(float, inputs, "float-quantized") };
    });
    const out = await convertTo(work, dir, "float32");
    expect((await about(out)).spec).toBeUndefined();
    // q_proj's own scale, before q, k and v would share one: 448 codes are the largest weight.
    const weight = (await weightsOf(out))[0]!.get("transformer.layers.0.mlp.proj")!;
    const scale = await scalarOf(dir, `${LAYER}mlp.down_proj.weight_scale`);
    const most = weight.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    expect(Math.abs(most / scale / 448 - 1)).toBeLessThan(1e-6);
  });

  it("keeps the scales of cached keys and values, the larger of a layer", async () => {
    const modelopt = { quant_method: "modelopt", quant_algo: "FP8", kv_cache_quant_algo: "FP8" };
    const dir = await change("modelopt_fp8", (config, tensors) => {
      tensors.set("k", floats(`${LAYER}self_attn.k_proj.k_scale`, [1], [0.02]));
      tensors.set("v", floats(`${LAYER}self_attn.v_proj.v_scale`, [1], [0.03]));
      return { ...config, quantization_config: modelopt };
    });
    const out = await convertTo(work, dir, "float32");
    expect((await about(out)).spec).toMatchObject({ quantAlgo: "FP8", kvCacheQuantAlgo: "FP8" });
    expect(await scalarOf(out, "transformer.layers.0.attention.kv_cache_scaling_factor", "rank0")).toBeCloseTo(0.03, 6);
    const without = await withConfig("modelopt_fp8", modelopt);
    expect(await problemsOf(work, without)).toEqual(["CKP092 the k_scale and v_scale of every layer is missing"]);
  });
});
