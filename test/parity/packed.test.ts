import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterAll, describe, expect, it } from "vitest";
import { NO_QUANTIZATION } from "../../src/checkpoint/quantization-options.ts";
import { openCheckpoint } from "../../src/checkpoint/read.ts";
import type { QuantSpec } from "../../src/tensor/index.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";

/** Made by test/reference/make_packed_fixtures.py. */
const PACKED = new URL("../fixtures/packed/", import.meta.url).pathname;
const LIMITS = { max_batch_size: 1, max_input_len: 8, max_seq_len: 12 };

const work = new Workspace();
afterAll(() => work.clean());

/** quant_algo, and whether zero points stay; "-" where the inputs are codes too, which float weights do not show. */
const CASES: readonly (readonly [name: string, algo: string, zeros: boolean | "-"])[] = [
  ["gptq_asym", "W4A16_GPTQ", true],
  ["gptq_v2", "W4A16", false],
  ["gptq_int8", "W8A16", false],
  ["awq_asym", "W4A16_AWQ", true],
  ["awq_folds", "W4A16_AWQ", false],
  ["compressed_w4", "W4A16_GPTQ", true],
  ["modelopt_awq", "W4A16_AWQ", false],
  ["compressed_w8a8", "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN", "-"],
  ["compressed_static", "W8A8_SQ_PER_CHANNEL_PER_TENSOR_PLUGIN", "-"],
  ["modelopt_fp8", "FP8", "-"],
  ["compressed_fp8", "FP8", "-"],
];

interface Expected {
  readonly ids: readonly number[];
  readonly [name: string]: readonly number[];
}

async function expected(): Promise<Expected> {
  return JSON.parse(await readFile(join(PACKED, "expected.json"), "utf8")) as Expected;
}

/** ONNX Runtime without the rounding of inputs to INT8 blocks that mmtrt's own sessions ask for. */
async function exactLogits(engine: string, algo = ""): Promise<Float32Array> {
  const { ids } = await expected();
  const session = await InferenceSession.create(join(engine, "llm", "rank0.onnx"), {
    extra: {
      // Its fusions of quantized products know no E4M3.
      session: { qdq_matmulnbits_accuracy_level: "0", ...(algo === "FP8" && { disable_quant_qdq: "1" }) },
    },
  });
  const row = (values: readonly number[]): Tensor => new Tensor("int32", Int32Array.from(values), [1, values.length]);
  const past = new Tensor("float32", new Float32Array(0), [1, 1, 0, 16]);
  const { logits } = await session.run({
    input_ids: row(ids),
    position_ids: row(ids.map((_, i) => i)),
    attention_mask: row(ids.map(() => 1)),
    last_token_ids: new Tensor("int32", Int32Array.of(ids.length - 1), [1]),
    past_key_0: past,
    past_value_0: past,
  });
  await session.release();
  return logits?.data as Float32Array;
}

/** compressed-tensors' static FP8 has the tensors of ModelOpt's; the config says whose they are. */
async function modelOf(name: string): Promise<string> {
  if (name !== "compressed_fp8") return join(PACKED, name);
  const dir = await work.dir();
  await cp(join(PACKED, "modelopt_fp8"), dir, { recursive: true });
  const e4m3 = { num_bits: 8, type: "float", strategy: "tensor", symmetric: true, dynamic: false };
  const config = JSON.parse(await readFile(join(dir, "config.json"), "utf8")) as object;
  const quantization_config = {
    quant_method: "compressed-tensors",
    format: "float-quantized",
    config_groups: { group_0: { targets: ["Linear"], weights: e4m3, input_activations: e4m3 } },
    ignore: ["lm_head"],
    kv_cache_scheme: null,
  };
  await writeFile(join(dir, "config.json"), JSON.stringify({ ...config, quantization_config }));
  return dir;
}

async function specOf(checkpoint: string): Promise<QuantSpec | undefined> {
  const { quantization, close } = await openCheckpoint(checkpoint);
  await close();
  return quantization;
}

describe("a quantized checkpoint", () => {
  it.each(CASES)(
    "%s becomes %s with the logits its own codes and scales give in PyTorch",
    async (name, algo, zeros) => {
      const dir = await convertTo(work, await modelOf(name), "float32");
      const spec = await specOf(dir);
      expect([spec?.quantAlgo, zeros === "-" ? "-" : spec?.hasZeroPoint]).toEqual([algo, zeros]);
      const want = (await expected())[name === "compressed_fp8" ? "modelopt_fp8" : name] ?? [];
      expectClose(await exactLogits(await buildTo(work, dir, LIMITS), algo), want, 1e-4, name);
    },
  );

  it.each(CASES.filter(([, , zeros]) => zeros !== "-"))("%s has these logits as float weights too", async name => {
    const quantization = { ...NO_QUANTIZATION, qformat: "full_prec" } as const;
    const dir = await convertTo(work, join(PACKED, name), "float32", { quantization });
    expect(await specOf(dir)).toBeUndefined();
    const want = (await expected())[name] ?? [];
    expectClose(await exactLogits(await buildTo(work, dir, LIMITS)), want, 1e-4, name);
  });
});
