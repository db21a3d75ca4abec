import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { encodeOnnx } from "../../src/emit/onnx.ts";
import { MODERN, withCodes } from "../../src/graph/dialect.ts";
import type { Value } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/graph/ops.ts";
import { activate } from "../../src/layers/activation.ts";
import { bertAttention, type EncoderAttention } from "../../src/layers/fused/bert-attention.ts";
import { fp8, pluginFp8 } from "../../src/layers/fused/fp8-matmul.ts";
import { pluginGatedMlp } from "../../src/layers/fused/fused-gated-mlp.ts";
import { pluginGemm } from "../../src/layers/fused/gemm.ts";
import { lora } from "../../src/layers/fused/lora.ts";
import { pluginSmoothQuant, type SmoothOperands, smoothQuant } from "../../src/layers/fused/smooth-quant-matmul.ts";
import { f16ToF32, f32ToF16 } from "../../src/tensor/half.ts";

const [BATCH, SEQ, K, N] = [2, 19, 48, 40];

/** Numbers of no pattern in (−1, 1). */
const noise = (count: number, seed: number): Float32Array =>
  Float32Array.from(
    { length: count },
    (_, i) => Math.sin((i + 1) * (12.9898 + seed)) * Math.cos((i + 7) * 0.7311 * seed),
  );
const matrix = (g: GraphBuilder, shape: readonly number[], seed: number): Value =>
  g.floats(
    noise(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    shape,
    "float16",
  );
const factors = (g: GraphBuilder, shape: readonly number[], value: number): Value =>
  g.floats(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value), shape, "float32");
const codes = (g: GraphBuilder, dtype: "int8" | "float8_e4m3fn", shape: readonly [number, number]): Value =>
  // Of E4M3 the codes below 0x70: none is NaN.
  g.constant(
    dtype,
    shape,
    Uint8Array.from(noise(shape[0] * shape[1], 5), x => Math.abs(x * 111) | (x < 0 ? 0x80 : 0)),
  );

/** y of x [batch, seq, k] in float16, every operator by itself, as the graph has them. */
async function run(plugins: readonly string[], make: (g: GraphBuilder, x: Value) => Value) {
  const g = new GraphBuilder("one", withCodes(MODERN), new Set(plugins));
  const x = g.input("x", "float16", ["batch", SEQ, K]);
  g.output(make(g, x), "y");
  const graph = g.finish();
  const file = encodeOnnx(graph, { location: "none", tensors: new Map(), producerVersion: "test" });
  const session = await ort.InferenceSession.create(file, { graphOptimizationLevel: "disabled" });
  const halves = new Uint16Array(BATCH * SEQ * K);
  f32ToF16(noise(halves.length, 3), halves);
  const { y } = await session.run({ x: new ort.Tensor("float16", halves, [BATCH, SEQ, K]) });
  await session.release();
  const bits = y?.data as Uint16Array;
  const values = new Float32Array(bits.length);
  f16ToF32(new Uint16Array(bits.buffer, bits.byteOffset, bits.length), values);
  return { values, nodes: graph.nodes.filter(({ attributes }) => attributes.plugin_namespace).map(({ op }) => op) };
}

const smooth = (g: GraphBuilder, perToken: boolean, smoother: boolean): SmoothOperands => ({
  smoother: smoother ? () => factors(g, [1, K], 1.25) : undefined,
  inputScale: perToken ? undefined : () => factors(g, [1], 100),
  weight: () => codes(g, "int8", [N, K]),
  channelScale: () => g.floats(noise(N, 9), [1, N], "float32"),
  actScale: perToken ? undefined : () => factors(g, [1, 1], 0.01),
});
const heads = (g: GraphBuilder, x: Value, rest: Partial<EncoderAttention>): EncoderAttention => {
  const part = (seed: number): Value => g.matmul(x, matrix(g, [K, K], seed));
  return { q: part(11), k: part(12), v: part(13), heads: 3, scale: 0.25, ...rest };
};

const CASES: readonly (readonly [string, string, number, (g: GraphBuilder, x: Value) => Value])[] = [
  ...[true, false].map(
    bias =>
      [
        "Gemm",
        bias ? "with a bias" : "without a bias",
        1,
        (g: GraphBuilder, x: Value): Value => {
          const [w, b] = [matrix(g, [N, K], 2), bias ? matrix(g, [N], 4) : undefined];
          const product = (): Value => g.matmul(x, g.transpose(w, [1, 0]));
          return pluginGemm(g, x, w, b) ?? (b ? g.add(product(), b) : product());
        },
      ] as const,
  ),
  ...(["silu", "gelu_tanh", "quick_gelu", "relu"] as const).map(
    kind =>
      [
        "FusedGatedMlp",
        kind,
        1,
        (g: GraphBuilder, x: Value): Value => {
          const [gate, up] = [matrix(g, [N, K], 2), matrix(g, [N, K], 6)];
          const product = (w: Value): Value => g.matmul(x, g.transpose(w, [1, 0]));
          const weights = { gate, up, gateBias: undefined, upBias: undefined };
          return pluginGatedMlp(g, x, weights, kind) ?? g.multiply(activate(g, product(gate), kind), product(up));
        },
      ] as const,
  ),
  ...[true, false].map(
    perToken =>
      [
        "SmoothQuantMatmul",
        perToken ? "a scale for each token" : "one scale",
        2,
        (g: GraphBuilder, x: Value): Value => {
          // A product with a smoother and one without share the body.
          const both = [true, false].map(smoother => smooth(g, perToken, smoother));
          const [a, b] = both.map(given => pluginSmoothQuant(g, x, [N, K], given) ?? smoothQuant(g, x, given));
          return g.concat([a as Value, b as Value], 2);
        },
      ] as const,
  ),
  [
    "Fp8Matmul",
    "E4M3 on both sides",
    1,
    (g, x) => {
      const given = {
        inputScale: () => factors(g, [1], 1 / 256),
        weight: () => codes(g, "float8_e4m3fn", [N, K]),
        weightScale: () => factors(g, [1], 1 / 512),
      };
      return pluginFp8(g, x, [N, K], given) ?? fp8(g, x, given);
    },
  ],
  [
    "Lora",
    "an adapter for each item",
    1,
    (g, x) => {
      const task = g.int32s([2, 0], [BATCH]);
      const base = g.matmul(x, matrix(g, [K, N], 8));
      return lora(g, { base, x, a: matrix(g, [3, 8, K], 14), b: matrix(g, [3, N, 8], 15), task });
    },
  ],
  ["BertAttention", "every key", 1, (g, x) => bertAttention(g, heads(g, x, {}))],
  [
    "BertAttention",
    "keys by length",
    1,
    (g, x) => bertAttention(g, heads(g, x, { lengths: g.int32s([7, SEQ], [BATCH]) })),
  ],
  [
    "BertAttention",
    "keys by length, and a bias",
    1,
    (g, x) =>
      bertAttention(g, heads(g, x, { lengths: g.int32s([1, 13], [BATCH]), bias: matrix(g, [1, 3, SEQ, SEQ], 16) })),
  ],
];

describe("the body of a node", () => {
  it.each(CASES)("%s, %s, gives the standard form's numbers to the bit", async (op, _, count, make) => {
    const [plain, fused] = [await run([], make), await run([op], make)];
    expect([plain.nodes, fused.nodes]).toEqual([[], new Array(count).fill(op)]);
    expect(plain.values.every(Number.isFinite)).toBe(true);
    expect(new Set(plain.values).size).toBeGreaterThan(100);
    expect(fused.values).toEqual(plain.values);
  });

  it("of BertAttention sees the tokens that an encoder's mask shows, and no padding", async () => {
    const short = await run(["BertAttention"], (g, x) => {
      const seen = g.slice(x, 1, 0, 7);
      return bertAttention(g, heads(g, seen, {}));
    });
    const padded = await run(["BertAttention"], (g, x) =>
      g.slice(bertAttention(g, heads(g, x, { lengths: g.int32s([7, 7], [BATCH]) })), 1, 0, 7),
    );
    const largest = Math.max(...short.values.map((value, i) => Math.abs(value - (padded.values[i] as number))));
    expect(largest).toBeLessThan(2e-3);
  });
});
