import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../../src/formats/safetensors.ts";
import { about, asked, edited, halves, LAYER, PACKED, problemsOf, scalarOf, weightsOf } from "../../support/packed.ts";
import { convertTo, Workspace } from "../../support/pipeline.ts";
import { floats } from "../../support/tensors.ts";

const work = new Workspace();
afterAll(() => work.clean());

describe("options beside a quantized checkpoint", () => {
  const dir = join(PACKED, "gptq_asym");

  it("that name another format quantize its float weights again, with a note", async () => {
    const { spec, notes } = await about(await convertTo(work, dir, "float16", asked({ use_weight_only: true })));
    expect(spec?.quantAlgo).toBe("W8A16");
    expect(notes).toEqual(["weights that gptq has quantized are quantized again, as W8A16"]);
  });

  it("that name its own format change nothing, and are refused when they contradict it", async () => {
    const named = { use_weight_only: true, weight_only_precision: "int4_gptq" } as const;
    expect(await problemsOf(work, dir, asked({ ...named, group_size: 32 }))).toEqual([]);
    expect(await problemsOf(work, dir, asked({ ...named, group_size: 64 }))).toEqual([
      expect.stringMatching(/^CKP081 group_size 64 is set, and the checkpoint has 32/),
    ]);
    const awq = { use_weight_only: true, weight_only_precision: "int4_awq" } as const;
    expect(await problemsOf(work, dir, asked(awq))).toEqual([
      expect.stringMatching(/^CKP081 weight_only_precision int4_awq is set, and the checkpoint is gptq/),
    ]);
  });

  it("refuse the layouts of TensorRT-LLM's kernels for AWQ, which it makes itself", async () => {
    const awq = { use_weight_only: true, weight_only_precision: "int4_awq", weight_layout: "sm80" } as const;
    expect(await problemsOf(work, join(PACKED, "awq_asym"), asked(awq))).toContainEqual(
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
