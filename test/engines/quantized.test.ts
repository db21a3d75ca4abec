import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { afterAll, expect, it } from "vitest";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../src/checkpoint/quantization-options.ts";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import { cast, elementCount, type FloatDtype } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { headerOf, toldOf } from "../support/engine-files.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { describeTensorRT } from "../support/tensorrt.ts";
import { floats } from "../support/tensors.ts";

const INT8 = { use_weight_only: true } as const;
const INT4 = { use_weight_only: true, weight_only_precision: "int4" } as const;
const TRAINED = "../models/llava-shapes";

/** Each form in which weight-only layers are stored, each dtype, each family of decoders, each generation of GPUs. */
const CASES: readonly Case[] = [
  { model: "llama_gqa", dtype: "float16", format: INT8, sms: [80, 86, 89, 120] },
  { model: "llama_tied_bias", dtype: "float16", format: { ...INT8, disable_weight_only_quant_plugin: true } },
  { model: "opt_pre", dtype: "float16", format: INT4, sms: [86, 120] },
  { model: "gpt2_usual", dtype: "bfloat16", format: INT8 },
  { model: "qwen2_tied", dtype: "float32", format: INT4 },
  { model: TRAINED, dtype: "float16", format: { ...INT4, group_size: 32 }, sms: [80, 86, 89, 120] },
  { model: TRAINED, dtype: "bfloat16", format: { ...INT4, group_size: 16 } },
];

interface Case {
  readonly model: string;
  readonly dtype: FloatDtype;
  readonly format: Partial<QuantizationOptions>;
  readonly sms?: readonly number[];
}

const LIMITS = { max_batch_size: 3, max_input_len: 24, max_seq_len: 40 };
const WITH_IMAGES = { ...LIMITS, max_input_len: 120, max_seq_len: 140, only: "llm" } as const;

const work = new Workspace();
afterAll(() => work.clean());

describeTensorRT("engines of quantized weights", python => {
  const build = async ({ model, dtype, sms = [86] }: Case, quantization: QuantizationOptions): Promise<string> => {
    const checkpoint = await convertTo(work, resolve(FIXTURES, model), dtype, { quantization });
    const limits = model === TRAINED ? WITH_IMAGES : LIMITS;
    const tensorrt = { backend: "tensorrt_rtx", python, compute_capabilities: sms, workers: 2 } as const;
    return buildTo(work, checkpoint, { ...limits, ...tensorrt }, { env: { PATH: "/nowhere" } });
  };

  it.each(CASES)("$model in $dtype, $format", async one => {
    const dir = await build(one, { ...NO_QUANTIZATION, ...one.format });
    const [part] = (await openEngine(dir)).llmParts;
    const header = headerOf(part?.engine as string);
    expect(header).toEqual({ tag: "vtrt", size: header.length, length: part?.built?.bytes });
    const { graph } = await readOnnx(part?.onnx as string);
    const told = toldOf(dir, "llm/rank0");
    expect(told.sms).toEqual(one.sms ?? [86]);
    const io = (kind: string): string[] => told.io.tensors.filter(t => t.kind === kind).map(({ name }) => name);
    expect(io("input").sort()).toEqual(graph.input.map(({ name }) => name).sort());
    expect(io("output").sort()).toEqual(graph.output.map(({ name }) => name).sort());
    // Every layer has five products or, without a gate, four.
    const dequantized = graph.node.filter(({ opType }) => opType === "DequantizeLinear").length;
    const layers = told.io.tensors.filter(({ name }) => name.startsWith("past_key")).length;
    const expected = one.format.disable_weight_only_quant_plugin ? [0] : [4 * layers, 5 * layers];
    expect(expected).toContain(dequantized);
  });

  it("hold codes and not floats: INT4 saves most of three quarters of the layers, INT8 of half", {
    timeout: 120_000,
  }, async () => {
    const model = await wideModel();
    const bytes = async (format: Partial<QuantizationOptions>): Promise<number> => {
      const dir = await build({ model, dtype: "float16", format }, { ...NO_QUANTIZATION, ...format });
      return (await openEngine(dir)).llmParts[0]?.built?.bytes ?? 0;
    };
    const [plain, int8, int4] = [await bytes({}), await bytes(INT8), await bytes({ ...INT4, group_size: 64 })];
    const layers =
      2 * WIDE.num_hidden_layers * (4 * WIDE.hidden_size ** 2 + 3 * WIDE.hidden_size * WIDE.intermediate_size);
    expect(plain - int8).toBeGreaterThan(0.4 * layers);
    expect(plain - int4).toBeGreaterThan(0.6 * layers);
  });
});

/** Wide enough for weights to outweigh the code of kernels. */
const WIDE = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 64,
  hidden_size: 768,
  intermediate_size: 2048,
  num_hidden_layers: 2,
  num_attention_heads: 12,
  num_key_value_heads: 12,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  hidden_act: "silu",
  tie_word_embeddings: true,
};

async function wideModel(): Promise<string> {
  const dir = await work.dir();
  const { hidden_size: hidden, intermediate_size: inner, num_hidden_layers: layers } = WIDE;
  const shapes: [string, number[]][] = [
    ["model.embed_tokens.weight", [WIDE.vocab_size, hidden]],
    ["model.norm.weight", [hidden]],
  ];
  for (let layer = 0; layer < layers; layer++) {
    const name = `model.layers.${layer}`;
    shapes.push([`${name}.input_layernorm.weight`, [hidden]], [`${name}.post_attention_layernorm.weight`, [hidden]]);
    for (const part of ["q", "k", "v", "o"]) shapes.push([`${name}.self_attn.${part}_proj.weight`, [hidden, hidden]]);
    for (const part of ["gate", "up"]) shapes.push([`${name}.mlp.${part}_proj.weight`, [inner, hidden]]);
    shapes.push([`${name}.mlp.down_proj.weight`, [hidden, inner]]);
  }
  // No two alike: TensorRT keeps one of several equal weights.
  const noise = (count: number, seed: number): number[] =>
    Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + seed) / 16);
  const tensors = shapes.map(([name, shape], i) => cast(floats(name, shape, noise(elementCount(shape), i)), "float16"));
  await writeSafetensors(join(dir, "model.safetensors"), tensors);
  await writeFile(join(dir, "config.json"), JSON.stringify(WIDE));
  return dir;
}
