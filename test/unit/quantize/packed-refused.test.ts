import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  type Config,
  edited,
  GPTQ,
  halves,
  LAYER,
  PACKED,
  problemsOf,
  type Tensors,
  words,
} from "../../support/packed.ts";
import { Workspace } from "../../support/pipeline.ts";
import { floats, inMemory } from "../../support/tensors.ts";

const work = new Workspace();
afterAll(() => work.clean());

const change = (name: string, how: (config: Config, tensors: Tensors) => Config | undefined): Promise<string> =>
  edited(work, join(PACKED, name), how);

const withConfig = (name: string, quantization: object): Promise<string> =>
  change(name, config => ({ ...config, quantization_config: quantization }));

describe("a damaged or foreign checkpoint", () => {
  const q = `${LAYER}self_attn.q_proj`;

  it("is refused when inputs are in another order, and taken when desc_act changed nothing", async () => {
    const ids = Int32Array.from({ length: 96 }, (_, i) => Math.floor(((i * 5) % 96) / 32));
    const dir = await change("gptq_asym", (_, tensors) => {
      const name = `${LAYER}mlp.down_proj.g_idx`;
      tensors.set(name, inMemory(name, "int32", [96], new Uint8Array(ids.buffer)));
      return undefined;
    });
    expect(await problemsOf(work, dir)).toEqual([
      expect.stringMatching(/^CKP093 .*mlp\.down_proj\.g_idx puts the inputs/),
    ]);
    expect(await problemsOf(work, join(PACKED, "gptq_asym"))).toEqual([]);
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
    expect(await problemsOf(work, dir)).toEqual(expect.arrayContaining([expect.stringMatching(message)]));
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
    expect(await problemsOf(work, dir)).toEqual([
      expect.stringMatching(/^CKP092 .*q_proj and .*k_proj have other pre_quant_scales/),
    ]);
    expect(await problemsOf(work, await withConfig("modelopt_awq", quantization_config))).toEqual([]);
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
    expect(await problemsOf(work, dir)).toEqual([]);
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
    expect(await problemsOf(work, await withConfig("gptq_asym", quantization))).toEqual([
      expect.stringMatching(message),
    ]);
  });
});
