import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { calibrate } from "../../src/build/calibrate.ts";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../src/checkpoint/quantization-options.ts";
import { openSession } from "../../src/runtime/session.ts";
import { heldOut, rightAnswers } from "../support/held-out.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir, referenceBatch } from "./runtime-fixtures.ts";

/** LLaVA's prompts are the longest; the positions of the others end before. */
const limitsOf = (name: string) => {
  const length = name.startsWith("llava") ? 240 : 120;
  return { max_batch_size: 10, max_input_len: length, max_seq_len: length, max_multimodal_len: 1000 };
};

const PER_TOKEN = { smoothquant: 0.5, per_token: true, per_channel: true } as const;
const KV = { int8_kv_cache: true } as const;

interface Case {
  readonly name: string;
  readonly what: string;
  readonly format: Partial<QuantizationOptions>;
  /** Of 100 that may be lost against float32, which answers every held-out question of these models. */
  readonly points: number;
  readonly cache?: "continuous" | "static";
}

const CASES: readonly Case[] = [
  { name: "llava-shapes", what: "SmoothQuant per token and channel", format: PER_TOKEN, points: 1 },
  { name: "blip2-opt-shapes", what: "SmoothQuant per token and channel", format: PER_TOKEN, points: 1 },
  { name: "llava-shapes", what: "SmoothQuant with one scale a matrix", format: { smoothquant: 0.5 }, points: 2 },
  { name: "llava-shapes", what: "an INT8 cache", format: KV, points: 0.5 },
  { name: "blip2-opt-shapes", what: "a static INT8 cache", format: KV, points: 0.5, cache: "static" },
  { name: "gpt2-shapes", what: "an INT8 cache and weights", format: { ...KV, use_weight_only: true }, points: 1 },
  { name: "llava-shapes", what: "FP8", format: { qformat: "fp8" }, points: 2 },
  // Its Relu is what ONNX Runtime loses before FP8 codes unless told not to.
  { name: "blip2-opt-shapes", what: "FP8", format: { qformat: "fp8" }, points: 2 },
  { name: "llava-shapes", what: "INT4 AWQ", format: { qformat: "int4_awq", awq_block_size: 32 }, points: 2 },
  { name: "blip2-opt-shapes", what: "INT4 AWQ", format: { qformat: "int4_awq", awq_block_size: 16 }, points: 2 },
];

const work = new Workspace();
afterAll(() => work.clean());

/** A checkpoint of a trained model, with ranges measured on the first of its held-out questions. */
async function calibrated(name: string, format: Partial<QuantizationOptions>): Promise<string> {
  const model = fixtureDir(`models/${name}`);
  const calib_dataset = join(fixtureDir("models/llava-shapes"), "heldout", "questions.jsonl");
  const quantization = { ...NO_QUANTIZATION, ...format, calib_dataset, calib_size: 24 };
  return convertTo(work, model, "float32", {
    quantization,
    measure: (request, { quantAlgo }) => calibrate(request, { rows: quantAlgo === "W4A16_AWQ" ? 4 : 0, threads: 2 }),
  });
}

describe.each(CASES)("the trained $name with $what", ({ name, format, points, cache = "continuous" }) => {
  it(`answers at most ${points} of 100 held-out questions worse than in float32`, { timeout: 120_000 }, async () => {
    const engine = await buildTo(work, await calibrated(name, format), { ...limitsOf(name), kv_cache_type: cache });
    const answers = (await heldOut(name)).filter((_, i) => i % 2 === 0);
    expect(answers.length).toBeGreaterThanOrEqual(100);
    const right = await rightAnswers(engine, name, answers);
    expect(100 - (100 * right) / answers.length).toBeLessThanOrEqual(points);
  });
});

describe.each(["continuous", "static"] as const)("a %s INT8 cache", kv_cache_type => {
  it("gives the same logits however a prompt is cut, near those of a float cache", async () => {
    const model = fixtureDir("parity/qwen2_mqa");
    const { prompts, tensor } = await referenceBatch("qwen2_mqa", "b1");
    const act_ranges = fixtureDir("quantize/qwen2_mqa.safetensors");
    const given = { quantization: { ...NO_QUANTIZATION, ...KV, act_ranges } };
    const limits = { max_batch_size: 2, max_input_len: 32, max_seq_len: 64, kv_cache_type };
    const engine = await buildTo(work, await convertTo(work, model, "float32", given), limits);
    const session = await openSession(engine, { threads: 1 });
    const [prompt = []] = prompts;
    const whole = Float32Array.from((await session.prefill([prompt])).logits);
    const steps = await session.prefill([prompt.slice(0, 2)]);
    for (const token of prompt.slice(2)) await steps.step([token]);
    await session.close();
    const far = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
      Math.max(...Array.from(a, (value, i) => Math.abs(value - (b[i] as number))));
    expect(far(whole, steps.logits)).toBeLessThan(1e-4);
    const float = tensor("logits").values;
    const off = far(whole, float);
    // Codes of 7 bits change the last digits, and no more.
    expect(off).toBeGreaterThan(1e-5);
    expect(off).toBeLessThan(0.05 * Math.max(...Array.from(float, Math.abs)));
  });
});
