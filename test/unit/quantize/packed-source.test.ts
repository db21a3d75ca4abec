import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../../src/checkpoint/quantization-options.ts";
import { openCheckpoint } from "../../../src/checkpoint/read.ts";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { writeSafetensors } from "../../../src/formats/safetensors.ts";
import { packedForm } from "../../../src/quantize/packed-forms.ts";
import { linearForm, type PackedLinear, type QuantSpec } from "../../../src/tensor/index.ts";
import { expectClose } from "../../support/expect-close.ts";
import {
  type Config,
  edited,
  gptqInPlaceOf,
  halves,
  PACKED,
  readAll,
  type Tensors,
  TRAINED,
  weightsOf,
  words,
} from "../../support/packed.ts";
import { convertTo, Workspace } from "../../support/pipeline.ts";
import { floats, inMemory } from "../../support/tensors.ts";

const work = new Workspace();
afterAll(() => work.clean());

const LAYER = "model.layers.0.";
const GPTQ = { quant_method: "gptq", bits: 4, group_size: 32 };
const parallel = (tpSize: number, ppSize = 1) => ({
  parallel: { tpSize, ppSize, parallelEmbedding: false, embeddingShardingDim: 0 as const, shareEmbedding: false },
});

function asked(options: Partial<QuantizationOptions>): { quantization: QuantizationOptions } {
  return { quantization: { ...NO_QUANTIZATION, ...options } };
}

const FULL = asked({ qformat: "full_prec" });

async function about(checkpoint: string): Promise<{ spec: QuantSpec | undefined; notes: readonly string[] }> {
  const { quantization, manifest, close } = await openCheckpoint(checkpoint);
  await close();
  return {
    spec: quantization,
    notes: manifest.warnings.filter(({ code }) => code === "CKP094").map(({ what }) => what),
  };
}

/** Converts and gives the codes of the problems; [] when it went well. */
async function problemsOf(dir: string, given: Parameters<typeof convertTo>[3] = {}): Promise<readonly string[]> {
  try {
    await convertTo(work, dir, "float32", given);
    return [];
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error.problems.map(({ code, what }) => `${code} ${what}`);
  }
}

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
    expect(await problemsOf(dir)).toEqual([
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
    expect(await problemsOf(without)).toEqual(["CKP092 the k_scale and v_scale of every layer is missing"]);
  });
});

async function scalarOf(dir: string, name: string, file = "model"): Promise<number> {
  const bytes = Uint8Array.from(await (await readAll(join(dir, `${file}.safetensors`))).get(name)!.readRows(0, 1));
  return new Float32Array(bytes.buffer)[0]!;
}

describe("a damaged or foreign checkpoint", () => {
  const q = `${LAYER}self_attn.q_proj`;

  it("is refused when inputs are in another order, and taken when desc_act changed nothing", async () => {
    const ids = Int32Array.from({ length: 96 }, (_, i) => Math.floor(((i * 5) % 96) / 32));
    const dir = await change("gptq_asym", (_, tensors) => {
      const name = `${LAYER}mlp.down_proj.g_idx`;
      tensors.set(name, inMemory(name, "int32", [96], new Uint8Array(ids.buffer)));
      return undefined;
    });
    expect(await problemsOf(dir)).toEqual([expect.stringMatching(/^CKP093 .*mlp\.down_proj\.g_idx puts the inputs/)]);
    expect(await problemsOf(join(PACKED, "gptq_asym"))).toEqual([]);
  });

  const damage: readonly (readonly [string, string, (tensors: Tensors) => unknown, RegExp])[] = [
    ["zero points are missing", "gptq_asym", t => t.delete(`${q}.qzeros`), /^CKP092 .*q_proj\.qzeros is missing/],
    [
      "scales are of another shape",
      "gptq_asym",
      t =>
        t.set(
          `${q}.scales`,
          halves(`${q}.scales`, [2, 32], () => 1),
        ),
      /^CKP092 .*is \[2, 32\]; .* imply \[1, 32\]/,
    ],
    [
      "codes are of another type",
      "awq_asym",
      t =>
        t.set(
          `${q}.qweight`,
          halves(`${q}.qweight`, [32, 4], () => 1),
        ),
      /^CKP092 .*is float16; expected int32/,
    ],
    ["codes are those of gemv", "awq_asym", t => t.set(`${q}.qweight`, words(`${q}.qweight`, [64, 2], 3)), /^CKP092 /],
    [
      "a scale is left over",
      "awq_asym",
      t => t.set("x", floats(`${q}.input_scale`, [1], [1])),
      /^CKP041 1 stored tensor has no place/,
    ],
    [
      "a spare bias is not zero",
      "gptq_asym",
      t =>
        t.set(
          "b",
          halves(`${q}.bias`, [32], i => (i === 7 ? 0x3c00 : 0)),
        ),
      /^CKP062 .*q_proj\.bias is not all zeros/,
    ],
    [
      "weight_shape is another",
      "compressed_w4",
      t =>
        t.set(
          `${q}.weight_shape`,
          inMemory(`${q}.weight_shape`, "int32", [2], new Uint8Array(Int32Array.of(32, 48).buffer)),
        ),
      /^CKP092 .*weight_shape says 32 outputs and 48 inputs/,
    ],
    [
      "a layer has codes of other sizes",
      "gptq_v2",
      t => t.set(`${q}.qweight`, words(`${q}.qweight`, [4, 40], 3)),
      /^CKP092 /,
    ],
  ];
  it.each(damage)("is refused when %s", async (_, name, how, message) => {
    const dir = await change(name, (_config, tensors) => void how(tensors));
    expect(await problemsOf(dir)).toEqual(expect.arrayContaining([expect.stringMatching(message)]));
  });

  it("is refused when q and k would multiply their input by other factors", async () => {
    const quantization_config = { quant_method: "modelopt", quant_algo: "W4A16_AWQ", group_size: 32 };
    const dir = await change("modelopt_awq", (config, tensors) => {
      tensors.set(
        "p",
        halves(`${q}.pre_quant_scale`, [32], () => 0x3800),
      );
      return { ...config, quantization_config };
    });
    expect(await problemsOf(dir)).toEqual([
      expect.stringMatching(/^CKP092 .*q_proj and .*k_proj have other pre_quant_scales/),
    ]);
    expect(await problemsOf(await withConfig("modelopt_awq", quantization_config))).toEqual([]);
  });

  it("with zero biases beside every layer is taken", async () => {
    const dir = await change(
      "gptq_asym",
      (_, tensors) =>
        void tensors.set(
          "b",
          halves(`${q}.bias`, [32], () => 0),
        ),
    );
    expect(await problemsOf(dir)).toEqual([]);
  });

  const args = { num_bits: 4, type: "int", strategy: "channel", symmetric: true, dynamic: false };
  const foreign: readonly (readonly [string, object, RegExp])[] = [
    [
      "bitsandbytes",
      { quant_method: "bitsandbytes", load_in_4bit: true },
      /^SPC009 .*bitsandbytes; readable: gptq .* awq .* compressed-tensors .* modelopt/,
    ],
    ["no method", { bits: 4 }, /^SPC009 .*an unnamed method/],
    ["three bits", { ...GPTQ, bits: 3 }, /^SPC004 quantization_config\.bits is 3/],
    ["marlin's order", { ...GPTQ, checkpoint_format: "marlin" }, /^SPC004 .*checkpoint_format is "marlin"/],
    [
      "other bits for some modules",
      { ...GPTQ, dynamic: { lm_head: { bits: 8 } } },
      /^SPC009 .*dynamic gives some modules other bits/,
    ],
    ["AWQ's gemv", { quant_method: "awq", bits: 4, group_size: 32, version: "gemv" }, /^SPC009 .*version is "gemv"/],
    [
      "two groups of modules",
      {
        quant_method: "compressed-tensors",
        config_groups: { a: { weights: args }, b: { weights: { ...args, num_bits: 8 } } },
      },
      /^SPC009 .*2 groups that are quantized differently/,
    ],
    [
      "a rotation",
      {
        quant_method: "compressed-tensors",
        config_groups: { a: { weights: args } },
        transform_config: { config_groups: { r: {} } },
      },
      /^SPC004 .*transform_config is not empty/,
    ],
    [
      "ModelOpt's NVFP4",
      { quant_method: "modelopt", quant_algo: "NVFP4" },
      /^SPC002 .*quant_algo is "NVFP4"; expected one of FP8, W4A16_AWQ/,
    ],
    ["a key nobody knows", { ...GPTQ, new_transform: true }, /^SPC003 quantization_config\.new_transform/],
  ];
  it.each(foreign)("is refused with %s", async (_, quantization, message) => {
    expect(await problemsOf(await withConfig("gptq_asym", quantization))).toEqual([expect.stringMatching(message)]);
  });
});

describe("options beside a quantized checkpoint", () => {
  const dir = join(PACKED, "gptq_asym");

  it("that name another format quantize its float weights again, with a note", async () => {
    const { spec, notes } = await about(await convertTo(work, dir, "float16", asked({ use_weight_only: true })));
    expect(spec?.quantAlgo).toBe("W8A16");
    expect(notes).toEqual(["weights that gptq has quantized are quantized again, as W8A16"]);
  });

  it("that name its own format change nothing, and are refused when they contradict it", async () => {
    const named = { use_weight_only: true, weight_only_precision: "int4_gptq" } as const;
    expect(await problemsOf(dir, asked({ ...named, group_size: 32 }))).toEqual([]);
    expect(await problemsOf(dir, asked({ ...named, group_size: 64 }))).toEqual([
      expect.stringMatching(/^CKP081 group_size 64 is set, and the checkpoint has 32/),
    ]);
    const awq = { use_weight_only: true, weight_only_precision: "int4_awq" } as const;
    expect(await problemsOf(dir, asked(awq))).toEqual([
      expect.stringMatching(/^CKP081 weight_only_precision int4_awq is set, and the checkpoint is gptq/),
    ]);
  });

  it("refuse the layouts of TensorRT-LLM's kernels for AWQ, which it makes itself", async () => {
    const awq = { use_weight_only: true, weight_only_precision: "int4_awq", weight_layout: "sm80" } as const;
    expect(await problemsOf(join(PACKED, "awq_asym"), asked(awq))).toContainEqual(
      expect.stringMatching(/^CKP081 weight_layout sm80 is set for AWQ/),
    );
  });

  it("add an INT8 cache to the codes", async () => {
    const sizes = [
      ["q", 32],
      ["k", 16],
      ["v", 16],
      ["o", 32],
    ].map(([name, out]) => [`self_attn.${name}_proj`, 32, out as number] as const);
    const mlp = [
      ["mlp.gate_proj", 32, 96],
      ["mlp.up_proj", 32, 96],
      ["mlp.down_proj", 96, 32],
    ] as const;
    const file = join(await work.dir(), "ranges.safetensors");
    const ranges = [...sizes, ...mlp].flatMap(([name, x, y], i) => [
      floats(
        `${LAYER}${name}.x`,
        [x],
        Array.from({ length: x }, () => 1),
      ),
      floats(
        `${LAYER}${name}.y`,
        [y],
        Array.from({ length: y }, (_, j) => 1 + i + j / 64),
      ),
    ]);
    await writeSafetensors(file, ranges);
    const out = await convertTo(work, dir, "float32", asked({ int8_kv_cache: true, act_ranges: file }));
    expect((await about(out)).spec).toMatchObject({ quantAlgo: "W4A16_GPTQ", kvCacheQuantAlgo: "INT8" });
    const scale = await scalarOf(out, "transformer.layers.0.attention.kv_cache_scaling_factor", "rank0");
    // The largest of q, k and v: v's last, 1 + 2 + 15 / 64.
    expect(scale).toBeCloseTo((3 + 15 / 64) / 127, 6);
    const [[cached], [plain]] = [await weightsOf(out), await weightsOf(await convertTo(work, dir, "float32"))];
    for (const [module, weight] of cached!) expect(weight).toEqual(plain!.get(module));
  });

  it("take the codes of another file in the place of float weights", async () => {
    const plain = await edited(work, dir, (config, tensors) => {
      for (const { name, shape } of [...tensors.values()]) {
        if (!name.endsWith(".qweight")) continue;
        const [words = 0, n = 0] = shape;
        const weight = name.replace(/qweight$/, "weight");
        tensors.set(
          weight,
          halves(weight, [n, words * 8], () => 0x3c00),
        );
      }
      for (const name of [...tensors.keys()]) if (/\.(qweight|qzeros|scales|g_idx)$/.test(name)) tensors.delete(name);
      const { quantization_config: _, ...rest } = config;
      return rest;
    });
    const file = join(dir, "model.safetensors");
    const options = {
      use_weight_only: true,
      weight_only_precision: "int4_gptq",
      group_size: 32,
      quant_ckpt_path: file,
    } as const;
    const [[there], [own]] = [
      await weightsOf(await convertTo(work, plain, "float32", asked(options))),
      await weightsOf(await convertTo(work, dir, "float32")),
    ];
    expect(there!.size).toBe(5);
    for (const [module, weight] of there!) expect(weight).toEqual(own!.get(module));
  });
});

describe("a form for a model of several stages", () => {
  const linear = (module: string): PackedLinear => {
    const plane = (dtype: "int8" | "float16", shape: readonly number[]) => ({
      recipe: inMemory(module, dtype, shape, new Uint8Array(shape[0]! * shape[1]! * (dtype === "int8" ? 1 : 2))),
      turned: true,
    });
    const planes = { codes: plane("int8", [256, 16]), scales: plane("float16", [2, 16]) };
    return { module, kind: "int4", outputs: 16, inputs: 256, groups: 2, ...planes };
  };
  const scheme = {
    method: "gptq",
    codes: "int4",
    groupSize: 128,
    zeroOffset: 1,
    activations: "float",
    kvCache: null,
  } as const;
  const form = (plain: readonly string[], tpSize: number) => {
    const modules = [0, 1, 2, 3].flatMap(layer =>
      ["fc", "proj"].map(kind => `transformer.layers.${layer}.mlp.${kind}`),
    );
    return packedForm(
      {
        scheme,
        modules: new Map(modules.filter(name => !plain.includes(name)).map(name => [name, [linear(name)]])),
        plain,
        cacheScales: new Map(),
        tpSize,
        layersPerStage: 2,
        splitsInputs: module => module.endsWith("proj"),
      },
      "plain",
    );
  };

  it("names plain layers as they are counted in a stage", () => {
    const { spec } = form(["transformer.layers.3.mlp.proj", "transformer.layers.0.mlp.fc"], 1);
    expect(spec?.excludeModules).toEqual(["lm_head", "transformer.layers.1.mlp.proj", "transformer.layers.0.mlp.fc"]);
    expect(linearForm(spec, "transformer.layers.1.mlp.proj").kind).toBe("plain");
    expect(linearForm(spec, "transformer.layers.1.mlp.fc").kind).toBe("group");
  });

  it("has the largest groups that lie on one rank", () => {
    expect([1, 2, 4, 8].map(tp => form([], tp).spec?.groupSize)).toEqual([128, 128, 64, 32]);
    expect(form([], 32).problems.map(({ code }) => code)).toEqual(["CKP083"]);
  });
});
