import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { convert } from "../../../src/checkpoint/convert.ts";
import { NO_QUANTIZATION, type QuantizationOptions, quantSpec } from "../../../src/checkpoint/quantization-options.ts";
import { quantizationProblems } from "../../../src/checkpoint/quantization-rules.ts";
import { openCheckpoint } from "../../../src/checkpoint/read.ts";
import { f16ToF32, type TensorType } from "../../../src/tensor/index.ts";
import { planFor } from "../../support/checkpoints.ts";
import { ROOT } from "../../support/sources.ts";
import { llama, pair } from "../../support/specs.ts";

const FC = "transformer.layers.0.mlp.fc.weight";
const INT8 = { use_weight_only: true } as const;
const INT4 = { use_weight_only: true, weight_only_precision: "int4" } as const;

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-weight-only-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

function problems(given: Partial<QuantizationOptions>, shape: readonly number[] = [128, 192], spec = llama()) {
  const options = { ...NO_QUANTIZATION, ...given };
  const tensors: TensorType[] = [{ name: FC, dtype: "float16", shape }];
  const found = quantizationProblems(options, quantSpec(options), spec, [tensors], key => `--${key}`);
  return found.map(({ code, what, at, fix }) => `${code}: ${what} (${at}; ${fix})`);
}

describe("options of quantization", () => {
  it.each<[string, Partial<QuantizationOptions>]>([
    ["nothing", {}],
    ["INT8", INT8],
    ["INT4 for each output", INT4],
    ["INT4 in groups", { ...INT4, group_size: 64 }],
    ["the kernels' layout", { ...INT8, weight_layout: "sm90" }],
    ["quantize.py's name", { qformat: "int8_wo" }],
  ])("that ask for %s are taken", (_name, options) => {
    expect(problems(options)).toEqual([]);
  });

  it.each<[string, Partial<QuantizationOptions>, RegExp]>([
    ["two formats", { ...INT8, smoothquant: 0.5 }, /CKP081: smoothquant and use_weight_only are both set/],
    ["a format under two names", { ...INT8, qformat: "int8_wo" }, /CKP081: qformat int8_wo and use_weight_only/],
    [
      "INT4 without weight-only",
      { weight_only_precision: "int4" },
      /CKP081.*without use_weight_only.*--use_weight_only/,
    ],
    ["groups of INT8", { ...INT8, group_size: 64 }, /CKP081: group_size is set for weights that are not INT4/],
    ["per_group of INT8", { ...INT8, per_group: true }, /CKP081: per_group is set for weights that are not INT4/],
    ["per_token without SmoothQuant", { per_token: true }, /CKP081: per_token.*--smoothquant 0\.5 --per_token/],
    ["two caches", { int8_kv_cache: true, fp8_kv_cache: true }, /CKP081: int8_kv_cache and fp8_kv_cache/],
    ["float weights of INT4", { ...INT4, disable_weight_only_quant_plugin: true }, /CKP081: disable_weight_only/],
    ["a layout of nothing", { weight_layout: "sm80" }, /CKP081: weight_layout sm80/],
    ["calibration of nothing", { ...INT8, calib_size: 8 }, /CKP081: calib_size is set and nothing is calibrated/],
    ["a group of 48", { ...INT4, group_size: 48 }, /CKP083: group_size 48 is not one of 16, 32, 64, 128/],
    [
      "a group that is cut",
      { ...INT4, group_size: 128 },
      /CKP083.*mlp\.fc is 192 × 128 on a rank.*--group_size 16, 32, 64/,
    ],
  ])("that ask for %s are refused", (_name, options, says) => {
    expect(problems(options).join("\n")).toMatch(says);
  });

  it("are refused for encoder-decoders, which TensorRT-LLM leaves as they are in silence", () => {
    expect(problems(INT8, [128, 192], pair())).toEqual([
      expect.stringMatching(/^CKP080: use_weight_only is set for an encoder-decoder \(--use_weight_only;/),
    ]);
  });

  it("name the layer whose outputs are no pairs of INT4, or no tiles of the kernels", () => {
    expect(problems(INT4, [127, 192])[0]).toMatch(
      /^CKP082: INT4 needs an even number of outputs; mlp\.fc is 192 × 127/,
    );
    expect(problems({ ...INT8, weight_layout: "sm80" }, [96, 192])[0]).toMatch(/^CKP082: weight_layout sm80 needs/);
    expect(problems(INT8, [127, 191])).toEqual([]);
  });
});

describe("a weight-only checkpoint", () => {
  const quantized = async (name: string, tpSize: number, given: Partial<QuantizationOptions>): Promise<string> => {
    const outputDir = join(dir, name);
    await convert({
      modelDir: join(ROOT, "test/fixtures/parity/llama_gqa"),
      outputDir,
      dtype: "float16",
      parallel: { tpSize, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false },
      quantization: { ...NO_QUANTIZATION, ...given },
      workers: 1,
      strict: false,
      hash: false,
      version: "0.0.0-test",
    });
    return outputDir;
  };

  it("opens with what config.json and mmtrt.json say of it", async () => {
    const checkpoint = await openCheckpoint(await quantized("opens", 1, INT4));
    await checkpoint.close();
    expect(checkpoint.quantization).toMatchObject({ quantAlgo: "W4A16", weightLayout: "plain", floatWeights: false });
    expect(checkpoint.config).toMatchObject({
      mmtrt: { weight_layout: "plain" },
      quantization: { quant_algo: "W4A16" },
    });
    expect(checkpoint.manifest.options).toMatchObject({ quant_algo: "W4A16", weight_layout: "plain" });
  });

  it("becomes a graph of operator set 21 for a TensorRT of operator set 20, which has no INT4", async () => {
    const opsets = await Promise.all(
      [INT4, {}].map(async (format, i) => {
        const checkpoint = await quantized(`opset-${i}`, 1, format);
        const lengths = { max_input_len: 8, max_seq_len: 16 };
        const plan = await planFor(checkpoint, join(dir, `engine-${i}`), { ...lengths, tensorrt_version: "10.0" });
        return plan.engines.map(({ graph }) => graph.opset);
      }),
    );
    expect(opsets).toEqual([[21], [20]]);
  });

  it("has scales of each rank's own share: the largest weight of a row may be on another rank", async () => {
    const name = "transformer.layers.0.mlp.proj";
    const floats = await valuesOf(await quantized("floats", 1, {}), 0, `${name}.weight`);
    const output = await quantized("ranks", 2, INT8);
    const [k, n] = [floats.shape[1] ?? 0, floats.shape[0] ?? 0];
    for (const rank of [0, 1]) {
      const scales = await valuesOf(output, rank, `${name}.per_channel_scale`);
      const share = (row: number): number[] =>
        Array.from({ length: k / 2 }, (_, i) => Math.abs(floats.values[row * k + (rank * k) / 2 + i] ?? 0));
      const want = Array.from({ length: n }, (_, row) => Math.max(...share(row)) / 128);
      expect(scales.shape).toEqual([n]);
      for (const [row, scale] of scales.values.entries()) expect(scale / (want[row] ?? 0)).toBeCloseTo(1, 2);
    }
  });

  it("is refused when its config.json names an algorithm nobody knows", async () => {
    const output = await quantized("damaged", 1, INT8);
    const file = join(output, "config.json");
    await writeFile(file, (await readFile(file, "utf8")).replace("W8A16", "W3A16"));
    await expect(openCheckpoint(output)).rejects.toThrow(/CKP050.*quant_algo is "W3A16"/);
  });

  async function valuesOf(output: string, rank: number, name: string) {
    const checkpoint = await openCheckpoint(output);
    const tensor = checkpoint.ranks[rank]?.tensors.get(name);
    if (tensor === undefined) throw new Error(`rank ${rank} has no ${name}`);
    const bytes = Uint8Array.from(await tensor.readRows(0, tensor.shape[0] ?? 1));
    await checkpoint.close();
    const values = new Float32Array(bytes.byteLength / 2);
    f16ToF32(new Uint16Array(bytes.buffer), values);
    return { shape: tensor.shape, values };
  }
});
