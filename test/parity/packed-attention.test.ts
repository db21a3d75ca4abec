import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { encodeOnnx } from "../../src/emit/onnx.ts";
import { DECOMPOSED, type Dialect, MODERN } from "../../src/graph/dialect.ts";
import { GraphBuilder } from "../../src/graph/ops.ts";
import { packedAttention } from "../../src/layers/packed-attention.ts";
import { f16ToF32, f32ToF16 } from "../../src/tensor/half.ts";
import { expectClose } from "../support/expect-close.ts";

const [HEADS, DIM] = [3, 8];
const WIDTH = HEADS * DIM;

/** Numbers of no pattern in (−1, 1). */
const noise = (count: number, seed: number): Float32Array =>
  Float32Array.from(
    { length: count },
    (_, i) => Math.sin((i + 1) * (12.9898 + seed)) * Math.cos((i + 7) * 0.7311 * seed),
  );

/** softmax(q · kᵀ ÷ 2) · v by heads, segment by segment, in doubles. */
function reference(parts: readonly Float32Array[], starts: readonly number[]): Float32Array {
  const [q, k, v] = parts as [Float32Array, Float32Array, Float32Array];
  const y = new Float32Array(q.length);
  for (let segment = 0; segment + 1 < starts.length; segment++) {
    const [begin, end] = [starts[segment] as number, starts[segment + 1] as number];
    for (let row = begin; row < end; row++)
      for (let head = 0; head < HEADS; head++) {
        const at = (x: Float32Array, i: number, d: number): number => x[i * WIDTH + head * DIM + d] as number;
        const scores = Array.from({ length: end - begin }, (_, j) => {
          let sum = 0;
          for (let d = 0; d < DIM; d++) sum += at(q, row, d) * at(k, begin + j, d);
          return Math.exp(sum / 2);
        });
        const total = scores.reduce((a, b) => a + b, 0);
        for (let d = 0; d < DIM; d++)
          y[row * WIDTH + head * DIM + d] = scores.reduce(
            (sum, score, j) => sum + (score / total) * at(v, begin + j, d),
            0,
          );
      }
  }
  return y;
}

interface Form {
  readonly longest?: number;
  readonly plugins?: readonly string[];
  readonly dialect?: Dialect;
  readonly dtype?: "float16" | "float32";
}

async function run(parts: readonly Float32Array[], starts: readonly number[], form: Form) {
  const { longest, plugins = [], dialect = MODERN, dtype = "float32" } = form;
  const g = new GraphBuilder("packed", dialect, new Set(plugins));
  const rows = ["q", "k", "v"].map(name => g.input(name, dtype, [1, "4*features", WIDTH]));
  const [q, k, v] = rows as [(typeof rows)[0], (typeof rows)[0], (typeof rows)[0]];
  const cu = g.input("starts", "int32", ["windows + 1"]);
  const attend = packedAttention(g, { starts: cu, ...(longest !== undefined && { longest }) });
  // Two layers share what follows from the segments.
  const first = attend({ q, k, v, heads: HEADS, scale: 0.5 });
  g.output(first, "y");
  g.output(attend({ q, k, v: first, heads: HEADS, scale: 0.5 }), "again");
  const graph = g.finish();
  const file = encodeOnnx(graph, { location: "none", tensors: new Map(), producerVersion: "test" });
  const session = await ort.InferenceSession.create(file, { graphOptimizationLevel: "disabled" });
  const dims = [1, (parts[0] as Float32Array).length / WIDTH, WIDTH];
  const tensor = (values: Float32Array): ort.Tensor => {
    if (dtype === "float32") return new ort.Tensor("float32", values, dims);
    const halves = new Uint16Array(values.length);
    f32ToF16(values, halves);
    return new ort.Tensor("float16", halves, dims);
  };
  const feeds = Object.fromEntries(["q", "k", "v"].map((name, i) => [name, tensor(parts[i] as Float32Array)]));
  const out = await session.run({
    ...feeds,
    starts: new ort.Tensor("int32", Int32Array.from(starts), [starts.length]),
  });
  await session.release();
  const wide = (name: string): Float32Array => {
    const data = out[name]?.data as Float32Array | Uint16Array;
    if (data instanceof Float32Array) return data;
    const values = new Float32Array(data.length);
    f16ToF32(new Uint16Array(data.buffer, data.byteOffset, data.length), values);
    return values;
  };
  return { y: wide("y"), again: wide("again"), ops: graph.nodes.map(({ op }) => op) };
}

describe("attention within segments of packed rows", () => {
  const SEGMENTS = [
    [0, 4],
    [0, 4, 16, 20, 36],
    [0, 12, 16, 28, 32, 44],
  ];
  const parts = (rows: number): Float32Array[] => [1, 2, 3].map(seed => noise(rows * WIDTH, seed));

  it.each(SEGMENTS.map(starts => [starts]))("is that of each segment by itself: %j", async starts => {
    const qkv = parts(starts.at(-1) as number);
    const expected = reference(qkv, starts);
    const twice = reference([qkv[0] as Float32Array, qkv[1] as Float32Array, expected], starts);
    const forms: readonly (readonly [string, Form])[] = [
      ["by a mask", {}],
      ["gathered, segments up to 16", { longest: 16 }],
      ["gathered, for older parsers", { longest: 19, dialect: DECOMPOSED }],
      ["as a node's body", { dtype: "float16", plugins: ["BertAttention"] }],
    ];
    for (const [name, form] of forms) {
      const { y, again } = await run(qkv, starts, form);
      expectClose(y, expected, form.dtype === "float16" ? 2e-3 : 1e-5, name);
      expectClose(again, twice, form.dtype === "float16" ? 2e-3 : 1e-5, `${name}, twice`);
    }
  });

  it("is one node a layer where BertAttention is asked for, and no square of all rows where segments are short", async () => {
    const qkv = parts(20);
    const node = await run(qkv, [0, 4, 20], { dtype: "float16", longest: 16, plugins: ["BertAttention"] });
    expect(node.ops).toEqual(["BertAttention", "BertAttention"]);
    const gathered = await run(qkv, [0, 4, 20], { longest: 16 });
    expect(gathered.ops.filter(op => op === "Equal")).toEqual([]);
    // As long as a picture: gathering would multiply the work.
    expect((await run(qkv, [0, 4, 20], { longest: 4097 })).ops).toContain("Equal");
  });
});
