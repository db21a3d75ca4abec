import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeModel, type OnnxNode, type OnnxTensor } from "../formats/onnx/schema.ts";
import { type OrtGraph, openGraph, type Tensor } from "../runtime/ort.ts";
import { DTYPES, type TensorRecipe } from "../tensor/index.ts";
import { HIGHEST, LOWEST } from "./fitted-groups.ts";
import { bandsOf } from "./smoothing.ts";

/** Exponents tried; 0 is plain INT4, so that the search cannot lose against it on the texts it sees. */
const STEPS = 10;
const EXPONENTS = Array.from({ length: STEPS + 1 }, (_, i) => i / STEPS);

/** Smaller factors would lose a channel's weights in float16. */
const LEAST = 1e-4;

/** Finds the factors of an input. */
export interface AwqSearch {
  /**
   * The factors s of an input with the smallest Σ over its products of |x · (Q(W · s) / s − W)ᵀ|², s = mean |x|^α
   * scaled to √(max s · min s) = 1. `rows` are activations [n, inputs].
   */
  best(matrices: readonly TensorRecipe[], rows: Float32Array): Promise<Float32Array>;
}

/** Everything is done in ONNX Runtime, with all cores. `group` is the number of inputs that share a scale. */
export async function openAwqSearch(group: number): Promise<AwqSearch> {
  const dir = await mkdtemp(join(tmpdir(), "mmtrt-awq-"));
  try {
    const file = join(dir, "error.onnx");
    await writeFile(file, errorGraph(group));
    const graph = await openGraph(file, { threads: 0 });
    return { best: (matrices, rows) => search(graph, matrices, rows) };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function search(graph: OrtGraph, matrices: readonly TensorRecipe[], rows: Float32Array): Promise<Float32Array> {
  const inputs = matrices[0]?.shape[1] ?? 0;
  const x = graph.tensor("float32", rows, [rows.length / inputs, inputs]);
  const sizes = meanSizes(rows, inputs);
  const candidates = EXPONENTS.map(exponent => factorsOf(sizes, exponent));
  const losses = new Float64Array(candidates.length);
  for (const matrix of matrices) {
    for await (const { start, end, values } of bandsOf(matrix)) {
      const w = graph.tensor("float32", values, [end - start, inputs]);
      for (const [i, factors] of candidates.entries()) {
        const { loss } = await graph.run({ x, w, s: graph.tensor("float32", factors, [inputs]) });
        losses[i] = (losses[i] as number) + (((loss as Tensor).data as Float32Array)[0] as number);
      }
    }
  }
  const best = losses.reduce((least, loss, i) => (loss < (losses[least] as number) ? i : least), 0);
  return candidates[best] as Float32Array;
}

function meanSizes(rows: Float32Array, inputs: number): Float64Array {
  const sums = new Float64Array(inputs);
  for (let i = 0; i < rows.length; i++) sums[i % inputs] = (sums[i % inputs] as number) + Math.abs(rows[i] as number);
  return sums.map(sum => (sum * inputs) / rows.length);
}

/** Channels that no text used get the smallest factor that another has. */
function factorsOf(sizes: Float64Array, exponent: number): Float32Array {
  const least = sizes.filter(size => size > 0).reduce((a, b) => Math.min(a, b), Number.MAX_VALUE);
  const factors = sizes.map(size => (size > 0 ? size : least) ** exponent);
  const low = factors.reduce((a, b) => Math.min(a, b), Number.MAX_VALUE);
  const high = factors.reduce((a, b) => Math.max(a, b), 0);
  return Float32Array.from(factors, factor => Math.max(factor / Math.sqrt(low * high), LEAST));
}

/**
 * loss = Σ (x · errorᵀ)² of activations x [n, k] and rows w [m, k] with factors s [k], where error = Q(w · s) / s − w
 * and Q is that of `FittedGroups`. The values of a group are a row of a [m · k / group, group] matrix.
 */
function errorGraph(group: number): Uint8Array {
  const node = (opType: string, input: readonly string[], output: string): OnnxNode => ({
    opType,
    name: output,
    input: [...input],
    output: [output],
    attribute: [],
  });
  const float = (name: string, value: number): OnnxTensor => ({
    dims: [],
    dataType: DTYPES.float32.onnx,
    name,
    rawData: new Uint8Array(Float32Array.of(value).buffer),
  });
  const int64s = (name: string, values: readonly number[]): OnnxTensor => ({
    dims: [values.length],
    dataType: DTYPES.int64.onnx,
    name,
    rawData: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
  });
  const value = (name: string, ...dims: readonly string[]) => ({
    name,
    type: { tensorType: { elemType: DTYPES.float32.onnx, shape: { dim: dims.map(dimParam => ({ dimParam })) } } },
  });
  return encodeModel({
    irVersion: 10,
    producerName: "mmtrt",
    producerVersion: "",
    opsetImport: [{ domain: "", version: 21 }],
    functions: [],
    metadataProps: [],
    graph: {
      name: "error",
      node: [
        node("Mul", ["w", "s"], "scaled"),
        node("Reshape", ["scaled", "groups"], "grouped"),
        node("ReduceMax", ["grouped", "last"], "largest"),
        node("ReduceMin", ["grouped", "last"], "smallest"),
        node("Div", ["largest", "highest"], "above"),
        node("Div", ["smallest", "lowest"], "below"),
        node("Max", ["above", "below", "least"], "scale"),
        node("Div", ["grouped", "scale"], "exact"),
        node("Round", ["exact"], "whole"),
        node("Clip", ["whole", "lowest", "highest"], "codes"),
        node("Mul", ["codes", "scale"], "stored"),
        node("Shape", ["w"], "shape"),
        node("Reshape", ["stored", "shape"], "rows"),
        node("Div", ["rows", "s"], "meant"),
        node("Sub", ["meant", "w"], "error"),
        { ...node("Transpose", ["error"], "turned"), attribute: [{ name: "perm", type: 7, ints: [1, 0] }] },
        node("MatMul", ["x", "turned"], "product"),
        { ...node("ReduceSumSquare", ["product"], "loss"), attribute: [{ name: "keepdims", type: 2, i: 0 }] },
      ],
      initializer: [
        int64s("groups", [-1, group]),
        int64s("last", [-1]),
        // Groups of zeros have codes of zero.
        float("least", 1e-30),
        float("lowest", LOWEST),
        float("highest", HIGHEST),
      ],
      input: [value("x", "n", "k"), value("w", "m", "k"), value("s", "k")],
      output: [value("loss")],
    },
  });
}
