import { resolve } from "node:path";
import { afterAll, expect, it } from "vitest";
import { calibrate } from "../../src/build/calibrate.ts";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../src/checkpoint/quantization-options.ts";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { fixtureDir } from "../parity/runtime-fixtures.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { headerOf, toldOf } from "../support/engine-files.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

interface Case {
  readonly model: string;
  readonly dtype: FloatDtype;
  readonly format: Partial<QuantizationOptions>;
  readonly sms?: readonly number[];
}

/** Wide enough for groups of INT4, and calibrated here: its activations are no fixture. */
const TRAINED = "../models/llava-shapes";

const PER_TOKEN = { smoothquant: 0.5, per_token: true, per_channel: true } as const;

/** Formats that need calibration: each form of product and cache, each family, each generation of GPUs. */
const CASES: readonly Case[] = [
  { model: "llama_tied_bias", dtype: "float16", format: PER_TOKEN, sms: [80, 86, 89, 120] },
  { model: "opt_pre", dtype: "float16", format: { smoothquant: 0.5 }, sms: [86, 120] },
  { model: "gpt2_usual", dtype: "bfloat16", format: { smoothquant: 0.5, per_channel: true } },
  { model: "qwen2_mqa", dtype: "float32", format: { smoothquant: 0.5, per_token: true } },
  { model: "llama_tied_bias", dtype: "float16", format: { int8_kv_cache: true }, sms: [80, 86, 89, 120] },
  { model: "opt_pre", dtype: "bfloat16", format: { int8_kv_cache: true, use_weight_only: true } },
  { model: "qwen2_mqa", dtype: "float16", format: { ...PER_TOKEN, int8_kv_cache: true } },
  { model: "llama_tied_bias", dtype: "float16", format: { qformat: "fp8", fp8_kv_cache: true }, sms: [89, 120] },
  { model: "gpt2_usual", dtype: "bfloat16", format: { qformat: "fp8" }, sms: [89] },
  { model: TRAINED, dtype: "float16", format: { qformat: "int4_awq", awq_block_size: 32 }, sms: [80, 86, 89, 120] },
  { model: "opt_pre", dtype: "float16", format: { qformat: "fp8", int8_kv_cache: true }, sms: [120] },
];

const LIMITS = { max_batch_size: 3, max_input_len: 24, max_seq_len: 40 };
const WITH_IMAGES = { ...LIMITS, max_input_len: 120, max_seq_len: 140, only: "llm" } as const;

const work = new Workspace();
afterAll(() => work.clean());

describeTensorRT("engines of calibrated formats", python => {
  it.each(CASES)("$model in $dtype, $format", async ({ model, dtype, format, sms = [86] }) => {
    const trained = model === TRAINED;
    const ranges = trained
      ? { calib_dataset: fixtureDir("quantize/llava-shapes.jsonl") }
      : { act_ranges: fixtureDir(`quantize/${model}.safetensors`) };
    const quantization = { ...NO_QUANTIZATION, ...format, ...ranges };
    const checkpoint = await convertTo(work, resolve(FIXTURES, model), dtype, {
      quantization,
      measure: request => calibrate(request, { rows: 4, threads: 2 }),
    });
    const tensorrt = { backend: "tensorrt_rtx", python, compute_capabilities: sms, workers: 2 } as const;
    const dir = await buildTo(
      work,
      checkpoint,
      { ...(trained ? WITH_IMAGES : LIMITS), ...tensorrt },
      { env: { PATH: "/nowhere" } },
    );
    const [part] = (await openEngine(dir)).llmParts;
    const header = headerOf(part?.engine as string);
    expect(header).toEqual({ tag: "vtrt", size: header.length, length: part?.built?.bytes });
    const { graph } = await readOnnx(part?.onnx as string);
    const told = toldOf(dir, "llm/rank0");
    expect(told.sms).toEqual(sms);
    const io = (kind: string): string[] => told.io.tensors.filter(t => t.kind === kind).map(({ name }) => name);
    expect(io("input").sort()).toEqual(graph.input.map(({ name }) => name).sort());
    expect(io("output").sort()).toEqual(graph.output.map(({ name }) => name).sort());
    const caches = told.io.tensors.filter(({ name }) => /^(past|present)_(key|value)/.test(name));
    const stored = format.int8_kv_cache ? "int8" : format.fp8_kv_cache ? "float8_e4m3fn" : dtype;
    expect(new Set(caches.map(tensor => tensor.dtype))).toEqual(new Set([stored]));
  });
});
