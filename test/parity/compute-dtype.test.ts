import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import { openSession } from "../../src/runtime/session.ts";
import { DTYPES } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { describeTensorRT } from "../support/tensorrt.ts";
import { referenceBatch } from "./runtime-fixtures.ts";

const LIMITS = { max_batch_size: 3, max_input_len: 16, max_seq_len: 32 };
const MODEL = "qwen2_mqa";

const work = new Workspace();
afterAll(() => work.clean());

async function logitsOf(dtype: "float16" | "float32", build: Parameters<typeof buildTo>[2]): Promise<Float32Array> {
  const checkpoint = await convertTo(work, join(FIXTURES, MODEL), dtype);
  const session = await openSession(await buildTo(work, checkpoint, { ...LIMITS, ...build }), { threads: 1 });
  const { prompts } = await referenceBatch(MODEL, "b3");
  const { logits } = await session.prefill(prompts, undefined);
  await session.close();
  return logits;
}

it("computes a float16 checkpoint in float32: transformers' logits of the rounded weights, within 1e-4", async () => {
  const { tensor } = await referenceBatch(MODEL, "b3");
  const logits = await logitsOf("float16", { compute_dtype: "float32" });
  expectClose(logits, tensor("logits_float16").values, 1e-4, "logits");
});

it("gives float16 logits that are the float32 ones rounded", async () => {
  const [whole, half] = [await logitsOf("float32", {}), await logitsOf("float32", { logits_dtype: "float16" })];
  const { f16ToF32, f32ToF16 } = await import("../../src/tensor/index.ts");
  const [bits, rounded] = [new Uint16Array(whole.length), new Float32Array(whole.length)];
  f32ToF16(whole, bits);
  f16ToF32(bits, rounded);
  expect(half).toEqual(rounded);
  expect(half).not.toEqual(whole);
});

describeTensorRT("a bfloat16 engine of a float32 checkpoint", python => {
  it("has bfloat16 inputs, and casts the stored weights", async () => {
    const checkpoint = await convertTo(work, join(FIXTURES, "t5_gated"), "float32");
    const tensorrt = {
      backend: "tensorrt_rtx",
      python,
      compute_capabilities: [86],
      compute_dtype: "bfloat16",
    } as const;
    const dir = await buildTo(work, checkpoint, { ...LIMITS, ...tensorrt }, { env: { PATH: "/nowhere" } });
    const { llm, llmParts, encoderParts, crossParts } = await openEngine(dir);
    expect(llm?.pretrained_config).toHaveProperty("dtype", "bfloat16");
    expect(llm?.io.find(({ name }) => name === "past_key_0")?.dtype).toBe("bfloat16");
    for (const { onnx, engine } of [...llmParts, ...encoderParts, ...crossParts]) {
      const { graph } = await readOnnx(onnx);
      const stored = graph.initializer.filter(({ externalData = [] }) => externalData.length > 0);
      expect(stored.length).toBeGreaterThan(2);
      expect(stored.every(({ dataType }) => dataType === DTYPES.float32.onnx)).toBe(true);
      expect(engine).toBeDefined();
    }
  });
});
