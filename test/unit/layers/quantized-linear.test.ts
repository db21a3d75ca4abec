import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeOnnx, writeOnnx } from "../../../src/emit/onnx.ts";
import { writeSafetensors } from "../../../src/formats/safetensors.ts";
import { GraphBuilder } from "../../../src/graph/ops.ts";
import { linear } from "../../../src/layers/linear.ts";
import { WeightSource } from "../../../src/layers/weights.ts";
import { openGraph, toFloat32 } from "../../../src/runtime/ort.ts";
import { type QuantAlgo, type QuantSpec, storedLinear, UNQUANTIZED } from "../../../src/tensor/index.ts";
import { inMemory } from "../../support/tensors.ts";

const QKV = "transformer.layers.0.attention.qkv";
const DENSE = "transformer.layers.0.attention.dense";
const ROWS = 5;

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-layers-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

type Values = Record<string, Float32Array | Int8Array>;

/** Numbers without a pattern, the same every run. */
function numbers(count: number, scale: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + seed * 78.233) * scale);
}

function codes(count: number, most: number, seed: number): Int8Array {
  return Int8Array.from(numbers(count, most, seed), Math.round);
}

/** The tensors a quantized layer reads, from plain arrays; two INT4 codes go into a byte here. */
function tensorsOf(quant: QuantSpec, module: string, size: readonly [number, number], values: Values) {
  return storedLinear(quant, module, size, "float32").map(({ name, dtype, shape }) => {
    const own = values[name.slice(name.lastIndexOf(".") + 1)];
    if (own === undefined) throw new Error(`the test has no ${name}`);
    const packed = dtype === "int8" && own.length === 2 * (shape[0] ?? 0) * (shape[1] ?? 0);
    const bytes = packed
      ? Uint8Array.from({ length: own.length / 2 }, (_, i) => (own[2 * i]! & 15) | ((own[2 * i + 1]! & 15) << 4))
      : new Uint8Array(own.buffer, own.byteOffset, own.byteLength);
    return inMemory(name, dtype, shape, bytes);
  });
}

async function product(quant: QuantSpec, module: string, k: number, n: number, x: Float32Array, values: Values) {
  const g = new GraphBuilder("test");
  const y = linear(g, new WeightSource("float32", "float32", quant), g.input("x", "float32", ["batch", k]), module, {
    in: k,
    out: n,
  });
  g.output(y, "y");
  const weights = join(dir, `${quant.quantAlgo}-${k}-${n}.safetensors`);
  const recipes = tensorsOf(quant, module, [n, k], values);
  const { entries } = await writeSafetensors(weights, recipes);
  const tensors = new Map(
    recipes.map(({ name, dtype, shape }) => [name, { dtype, shape, offset: entries.get(name)!.offset }]),
  );
  const location = weights.slice(weights.lastIndexOf("/") + 1);
  const file = `${weights}.onnx`;
  await writeOnnx(g.finish(), file, { location, tensors, producerVersion: "test" });
  const graph = await openGraph(file, { threads: 1 });
  const { y: result } = await graph.run({ x: graph.tensor("float32", x, [ROWS, k]) });
  await graph.close();
  return toFloat32(result!);
}

/** Σ x[r, i] · w(i, j) in double precision. */
function reference(x: Float32Array, k: number, n: number, weight: (i: number, j: number) => number): Float64Array {
  return Float64Array.from({ length: ROWS * n }, (_, at) => {
    let sum = 0;
    for (let i = 0; i < k; i++) sum += x[Math.floor(at / n) * k + i]! * weight(i, at % n);
    return sum;
  });
}

/** Largest error as a part of the largest value. */
function error(got: Float32Array, want: Float64Array): number {
  const most = Math.max(...want.map(Math.abs));
  return Math.max(...want.map((value, i) => Math.abs(value - got[i]!))) / most;
}

const of = (quantAlgo: QuantAlgo, more: Partial<QuantSpec> = {}): QuantSpec => ({ ...UNQUANTIZED, quantAlgo, ...more });

/**
 * ONNX Runtime's products of INT4 and INT8 weights make INT8 codes of every 16 or 32 neighbours of their input. Whole
 * numbers up to 127, with a 127 among them, are such codes already, and the product is exact.
 */
function wholeNumbers(k: number): Float32Array {
  const x = numbers(ROWS * k, 127, 1).map(Math.round);
  return x.map((value, i) => ((i % k) % 16 === 3 ? 127 : value));
}

const EXACT = 2e-6;

describe("a weight-only layer", () => {
  it.each([
    [8, 19, 7],
    [8, 96, 38],
    [4, 19, 6],
    [4, 96, 38],
  ])("with INT%i codes of %i × %i is codes times scales of the outputs", async (bits, k, n) => {
    const [x, scale] = [wholeNumbers(k), numbers(n, 0.1, 2).map(Math.abs)];
    const weight = codes(k * n, bits === 8 ? 127 : 7, 3);
    const got = await product(of(bits === 8 ? "W8A16" : "W4A16"), QKV, k, n, x, { weight, per_channel_scale: scale });
    expect(
      error(
        got,
        reference(x, k, n, (i, j) => weight[i * n + j]! * scale[j]!),
      ),
    ).toBeLessThan(EXACT);
  });

  it("with float weights rounds them itself", async () => {
    const [k, n] = [19, 7];
    const [x, weight] = [wholeNumbers(k), numbers(k * n, 1, 2)];
    const scale = new Float32Array(n).fill(1 / 128);
    const got = await product(of("W8A16", { floatWeights: true }), QKV, k, n, x, { weight, per_channel_scale: scale });
    const rounded = (i: number, j: number): number => Math.min(127, Math.round(weight[i * n + j]! * 128)) / 128;
    expect(error(got, reference(x, k, n, rounded))).toBeLessThan(EXACT);
  });

  it.each([
    ["symmetric", {}],
    ["with zeros", { hasZeroPoint: true }],
    ["with prequant factors", { preQuantScale: true }],
    ["with both", { hasZeroPoint: true, preQuantScale: true }],
  ])("in groups, %s", async (_name, form) => {
    const [k, n, size] = [96, 38, 32];
    const [x, scale, zero] = [wholeNumbers(k), numbers((k / size) * n, 0.1, 2), numbers((k / size) * n, 0.3, 5)];
    const weight = codes(k * n, 7, 3);
    const factor = Float32Array.from({ length: k }, (_, i) => 2 ** (Math.floor(i / size) - 1));
    const quant = of("W4A16_AWQ", { groupSize: size, ...form });
    const values = { weight, weights_scaling_factor: scale.map(Math.abs), zero, prequant_scaling_factor: factor };
    const got = await product(quant, QKV, k, n, x, values);
    const want = reference(x, k, n, (i, j) => {
      const at = Math.floor(i / size) * n + j;
      const plain = weight[i * n + j]! * Math.abs(scale[at]!) + (quant.hasZeroPoint ? zero[at]! : 0);
      return plain * (quant.preQuantScale ? factor[i]! : 1);
    });
    expect(error(got, want)).toBeLessThan(EXACT);
  });
});

describe("a SmoothQuant layer", () => {
  const [k, n] = [19, 6];
  const x = numbers(ROWS * k, 3, 1);
  const weight = codes(n * k, 127, 3);
  const smoother = numbers(k, 1, 6).map(value => Math.abs(value) + 0.5);
  const inputScale = Float32Array.of(127 / 6);

  it.each([
    ["W8A8_SQ_PER_TENSOR_PLUGIN", QKV],
    ["W8A8_SQ_PER_TENSOR_PLUGIN", DENSE],
    ["W8A8_SQ_PER_CHANNEL_PER_TENSOR_PLUGIN", DENSE],
    ["W8A8_SQ_PER_TENSOR_PER_TOKEN_PLUGIN", DENSE],
    ["W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN", QKV],
    ["W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN", DENSE],
  ] as const)("of %s (%s) multiplies codes by codes", async (algo, module) => {
    const perToken = algo.includes("PER_TOKEN");
    const scales = module === QKV || algo.includes("PER_CHANNEL") ? n : 1;
    const channel = numbers(scales, 0.01, 7).map(Math.abs);
    const act = Float32Array.of(0.7);
    const got = await product(of(algo), module, k, n, x, {
      weight,
      per_channel_scale: channel,
      act_scale: act,
      smoother,
      scale_to_int: inputScale,
      quantization_scaling_factor: inputScale,
    });
    const smooth = x.map((value, i) => (module === DENSE ? value / smoother[i % k]! : value));
    const want = new Float64Array(ROWS * n);
    for (let row = 0; row < ROWS; row++) {
      const token = smooth.subarray(row * k, (row + 1) * k);
      const tokenScale = Math.max(...token.map(Math.abs)) / 127;
      const toCode = perToken ? 1 / tokenScale : inputScale[0]!;
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let i = 0; i < k; i++)
          sum += Math.max(-128, Math.min(127, Math.round(token[i]! * toCode))) * weight[j * k + i]!;
        want[row * n + j] = sum * channel[scales === 1 ? 0 : j]! * (perToken ? tokenScale : act[0]!);
      }
    }
    expect(error(got, want)).toBeLessThan(1e-2);
  });
});

it("names the tensor when the file has INT4 codes of another shape", () => {
  const g = new GraphBuilder("test");
  const quant = of("W4A16");
  g.output(
    linear(g, new WeightSource("float32", "float32", quant), g.input("x", "float32", ["batch", 4]), QKV, {
      in: 4,
      out: 6,
    }),
    "y",
  );
  const tensors = new Map([
    [`${QKV}.weight`, { dtype: "int8" as const, shape: [4, 6], offset: 0 }],
    [`${QKV}.per_channel_scale`, { dtype: "float32" as const, shape: [6], offset: 24 }],
  ]);
  const encode = (): unknown => encodeOnnx(g.finish(), { location: "w", tensors, producerVersion: "test" });
  expect(encode).toThrow(/GRF001.*qkv\.weight is int8 \[4, 6\]; the graph needs int4 \[4, 6\]/);
});
