import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { headerOf, toldOf, weightBytes } from "../support/engine-files.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

const TEXT = ["llm/rank0"];
const WITH_IMAGES = ["llm/rank0", "visual"];
const PAIR = ["encoder/rank0", "decoder/cross_rank0", "decoder/rank0"];
const IMAGE_TO_TEXT = ["decoder/cross_rank0", "decoder/rank0", "visual"];

/**
 * What is in no other family is built at least once: learned positions with an offset and projected tables (OPT), Conv1D
 * (GPT-2), biases on q, k and v (Qwen2), a sliding window (Mistral), rope scaling (dynamic, yarn, longrope), norms of queries and keys (Qwen3), soft-caps (Gemma 2), windows and rotary bases by layer (Gemma 3),
 * wqkv by groups (InternLM2), gate and up in one and partial rotary (Phi-3), layers without positions (SmolLM3), Q-Former, patches joined by a projector (VILA), tiles (Idefics3), a newline beside them (LLaVA-NeXT), packed patches (Qwen VL), relative bias (T5), post-norm
 * (BART), shifted windows (Nougat). For one sequence too, the default: TensorRT fixes a batch that can only be one. LLaMA
 * and LLaVA have build.test.ts, more of encoders and decoders encoder-decoder.test.ts.
 */
const CASES: readonly Case[] = [
  { model: "opt_proj", dtype: "float16", parts: TEXT },
  { model: "opt_pre", dtype: "float16", parts: TEXT },
  { model: "gpt2_inner", dtype: "float16", parts: TEXT },
  { model: "qwen2_mqa", dtype: "float16", parts: TEXT, build: { kv_cache_type: "static" } },
  { model: "mistral_slides", dtype: "float16", parts: TEXT, build: { max_batch_size: 1 } },
  { model: "llama_dynamic", dtype: "bfloat16", parts: TEXT },
  { model: "rope_llama_yarn_scaled", dtype: "float16", parts: TEXT },
  { model: "rope_llama_longrope", dtype: "bfloat16", parts: TEXT, build: { kv_cache_type: "static" } },
  { model: "rope_mistral_longrope", dtype: "float16", parts: TEXT, build: { max_batch_size: 1 } },
  { model: "qwen3_mqa", dtype: "float16", parts: TEXT },
  { model: "gemma2_caps", dtype: "bfloat16", parts: TEXT },
  { model: "gemma3_pattern", dtype: "bfloat16", parts: TEXT, build: { kv_cache_type: "static" } },
  { model: "internlm2_bias", dtype: "float16", parts: TEXT, build: { max_batch_size: 1 } },
  { model: "phi3_longrope", dtype: "float16", parts: TEXT },
  { model: "smollm3_window", dtype: "bfloat16", parts: TEXT, build: { kv_cache_type: "static" } },
  { model: "blip2_opt", dtype: "float16", parts: WITH_IMAGES },
  { model: "vila_downsample", dtype: "float16", parts: WITH_IMAGES },
  { model: "vila_linear", dtype: "float16", parts: WITH_IMAGES },
  { model: "vila_mlp", dtype: "bfloat16", parts: WITH_IMAGES },
  {
    model: "gemma3_images",
    dtype: "bfloat16",
    parts: WITH_IMAGES,
    build: { max_batch_size: 2, max_input_len: 40, max_seq_len: 60 },
  },
  {
    model: "paligemma2_window",
    dtype: "bfloat16",
    parts: WITH_IMAGES,
    build: { max_batch_size: 2, max_input_len: 40, max_seq_len: 60 },
  },
  {
    model: "idefics3_gqa",
    dtype: "float16",
    parts: WITH_IMAGES,
    build: { max_input_len: 100, max_seq_len: 120, max_visual_batch: 7 },
  },
  {
    model: "smolvlm_tied",
    dtype: "bfloat16",
    parts: WITH_IMAGES,
    build: { max_batch_size: 1, max_input_len: 140, max_seq_len: 160 },
  },
  {
    model: "internvl_rms",
    dtype: "float16",
    parts: WITH_IMAGES,
    build: { max_batch_size: 1, max_input_len: 70, max_seq_len: 90 },
  },
  // Packed patches: with windows, and with a position table and deepstack; the static cache with positions on three axes.
  { model: "qwen2_5_vl_odd", dtype: "bfloat16", parts: WITH_IMAGES, build: { max_batch_size: 2 } },
  {
    model: "qwen3_vl_odd",
    dtype: "float16",
    parts: WITH_IMAGES,
    build: { max_batch_size: 1, kv_cache_type: "static" },
  },
  {
    model: "llava_next_mistral",
    dtype: "float16",
    parts: WITH_IMAGES,
    build: { max_input_len: 100, max_seq_len: 120, max_visual_batch: 5 },
  },
  {
    model: "onevision_odd",
    dtype: "bfloat16",
    parts: WITH_IMAGES,
    build: { max_batch_size: 1, max_input_len: 70, max_seq_len: 90 },
  },
  { model: "gpt2mm_queries", dtype: "float16", parts: WITH_IMAGES, build: { max_batch_size: 1 } },
  { model: "t5_gated", dtype: "bfloat16", parts: PAIR, build: { max_batch_size: 1 } },
  { model: "bart_post", dtype: "float16", parts: PAIR },
  { model: "nougat_odd", dtype: "float16", parts: IMAGE_TO_TEXT, build: { max_batch_size: 1 } },
  // The trained ones, as they are built to be run; llava-shapes is in build.test.ts.
  {
    model: "models/blip2-opt-shapes",
    dtype: "float16",
    parts: WITH_IMAGES,
    build: { max_input_len: 80, max_seq_len: 110 },
  },
  {
    model: "models/blip2-t5-shapes",
    dtype: "bfloat16",
    parts: [...PAIR, "visual"],
    build: { max_encoder_input_len: 60, max_input_len: 1 },
  },
  {
    model: "models/vila-shapes",
    dtype: "float16",
    parts: WITH_IMAGES,
    build: { max_input_len: 120, max_seq_len: 150 },
  },
  { model: "models/gpt2-shapes", dtype: "float16", parts: WITH_IMAGES, build: { max_input_len: 90, max_seq_len: 120 } },
  {
    model: "models/nougat-shapes",
    dtype: "float16",
    parts: IMAGE_TO_TEXT,
    build: { max_encoder_input_len: 84, max_input_len: 1, max_seq_len: 56 },
  },
];

interface Case {
  readonly model: string;
  readonly dtype: FloatDtype;
  readonly parts: readonly string[];
  readonly build?: Partial<BuildOptions>;
}

const LIMITS = { max_batch_size: 3, max_input_len: 24, max_seq_len: 40 };
const SM = 86;

const work = new Workspace();
afterAll(() => work.clean());

describeTensorRT("engines of every family", python => {
  const tensorrt = { backend: "tensorrt_rtx", python, compute_capabilities: [SM], workers: 2 } as const;

  it.each(CASES)("$model in $dtype is $parts", async ({ model, dtype, parts, build = {} }) => {
    const checkpoint = await convertTo(work, join(FIXTURES, model.includes("/") ? ".." : ".", model), dtype);
    const dir = await buildTo(work, checkpoint, { ...LIMITS, ...tensorrt, ...build }, { env: { PATH: "/nowhere" } });
    const opened = await openEngine(dir);
    const { manifest, llmParts, encoderParts, crossParts, visualPart } = opened;
    expect(manifest.parts.map(({ name }) => name).sort()).toEqual([...parts].sort());
    expect(manifest.target).toMatchObject({ tensorrt: expect.stringMatching(/^1\.\d+\.\d+\.\d+$/), sm: [SM] });

    for (const part of [...encoderParts, ...crossParts, ...llmParts, ...(visualPart ? [visualPart] : [])]) {
      const header = headerOf(part.engine as string);
      expect(header).toEqual({ tag: "vtrt", size: header.length, length: part.built?.bytes });
      expect(header.length).toBeGreaterThan(await weightBytes(part.onnx));

      const { graph } = await readOnnx(part.onnx);
      const told = toldOf(dir, part.name);
      expect([told.io.from, told.sms]).toEqual(["engine", [SM]]);
      const io = (kind: string): string[] => told.io.tensors.filter(t => t.kind === kind).map(({ name }) => name);
      expect(io("input").sort()).toEqual(graph.input.map(({ name }) => name).sort());
      expect(io("output").sort()).toEqual(graph.output.map(({ name }) => name).sort());
    }
  });
});
