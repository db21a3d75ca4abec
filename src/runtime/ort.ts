import type { InferenceSession, Tensor } from "onnxruntime-node";
import { fail } from "../diagnostics/index.ts";
import { type Dtype, f16ToF32, f32ToF16 } from "../tensor/index.ts";

export type { Tensor } from "onnxruntime-node";
export type Feeds = Readonly<Record<string, Tensor>>;
export type Fetches = Readonly<Record<string, Tensor>>;

type TensorType = "float32" | "float16" | "int32" | "int8";
type TensorData = Float32Array | Int32Array | Uint16Array | Int8Array;

export interface OrtOptions {
  /** Threads within an operator; 0 lets ONNX Runtime choose. */
  readonly threads: number;
  /**
   * Quantized operators stay apart: ONNX Runtime 1.30 takes E4M3 for INT8 when it fuses, which gives graphs that it refuses
   * itself, and leaves out a Relu before a quantization to E4M3 as if codes could not be negative.
   */
  readonly keepsQuantizedApart?: boolean;
  /** Products with INT4 and INT8 weights are computed in the graph's own dtype, at whatever cost in time. */
  readonly exactProducts?: boolean;
  /** One of many graphs of a process, run one after the other: its threads sleep in between instead of spinning. */
  readonly oneOfMany?: boolean;
}

/** One graph, loaded. */
export interface OrtGraph {
  readonly file: string;
  readonly outputs: readonly string[];
  /** `into` may be memory of inputs: outputs that are written there, where the graph's runtime can, and are then those very tensors. */
  run(feeds: Feeds, into?: Fetches): Promise<Fetches>;
  tensor(type: TensorType, data: TensorData, dims: readonly number[]): Tensor;
  close(): Promise<void>;
}

/** All that making an input takes of a graph. */
export type TensorMaker = Pick<OrtGraph, "tensor">;

/**
 * Loads an ONNX file whose weights lie beside it. The library is imported here, so that commands which run nothing
 * do not pay for it.
 * @throws MmtrtError RUN011 when ONNX Runtime refuses the graph.
 */
export async function openGraph(file: string, options: OrtOptions): Promise<OrtGraph> {
  return openTyped(file, options);
}

/** Element type and shape of a value; sizes that depend on the request are undefined. */
export interface ValueType {
  readonly dtype: Dtype;
  readonly shape: readonly (number | undefined)[];
}

/** The same with what ONNX Runtime found out about the outputs. */
export async function openTyped(
  file: string,
  options: OrtOptions,
): Promise<OrtGraph & { readonly types: ReadonlyMap<string, ValueType> }> {
  const ort = await import("onnxruntime-node");
  const session = await ort.InferenceSession.create(file, sessionOptions(options)).catch((error: unknown) =>
    broken(file, (error as Error).message),
  );
  const everything = Object.fromEntries(session.outputNames.map(name => [name, null]));
  return {
    file,
    outputs: session.outputNames,
    types: new Map(session.outputMetadata.flatMap(value => (value.isTensor ? [[value.name, typeOf(value)]] : []))),
    // A run blocks the process, so signals are seen between runs; that is often enough to stop after a token.
    run: (feeds, into = {}) =>
      session.run(feeds, { ...everything, ...into }).then(
        // The binding gives copies of outputs whose memory it was given: nobody needs those.
        outputs => ({ ...outputs, ...into }),
        (error: unknown) => broken(file, (error as Error).message),
      ),
    tensor: (type, data, dims) => new ort.Tensor(type, data as Float32Array, dims),
    close: () => session.release(),
  };
}

function typeOf({ type, shape }: InferenceSession.TensorValueMetadata): ValueType {
  // Named sizes are other sizes in another graph.
  return { dtype: type as Dtype, shape: shape.map(size => (typeof size === "number" ? size : undefined)) };
}

function sessionOptions(options: OrtOptions): InferenceSession.SessionOptions {
  const { threads, keepsQuantizedApart = false, exactProducts = false, oneOfMany = false } = options;
  return {
    executionProviders: ["cpu"],
    graphOptimizationLevel: keepsQuantizedApart ? "basic" : "all",
    // 3: errors only. What ONNX Runtime warns about (constant folding it skipped) is nothing a user can act on.
    logSeverityLevel: 3,
    // Products with INT4 and INT8 weights turn their input into INT8 codes; level 0 keeps it float, and is then a hundred
    // times slower for INT8 weights than no quantization at all.
    extra: {
      session: {
        qdq_matmulnbits_accuracy_level: exactProducts ? "0" : "4",
        ...(keepsQuantizedApart && { disable_quant_qdq: "1" }),
        ...(oneOfMany && { intra_op: { allow_spinning: "0" } }),
      },
    },
    ...(threads > 0 && { intraOpNumThreads: threads }),
  };
}

/** The values of a float tensor; float16 is widened. */
export function toFloat32(tensor: Tensor): Float32Array {
  if (tensor.type === "float32") return tensor.data as Float32Array;
  const { buffer, byteOffset, length } = tensor.data as Uint16Array;
  const wide = new Float32Array(length);
  f16ToF32(new Uint16Array(buffer, byteOffset, length), wide);
  return wide;
}

/** Float values as the element type an input wants. Node 20 has no Float16Array; both sides take the bits. */
export function fromFloat32(graph: TensorMaker, dtype: Dtype, values: Float32Array, dims: readonly number[]): Tensor {
  if (dtype !== "float16") return graph.tensor("float32", values, dims);
  const half = new Uint16Array(values.length);
  f32ToF16(values, half);
  return graph.tensor("float16", half, dims);
}

function broken(file: string, message: string): never {
  return fail({
    code: "RUN011",
    what: `ONNX Runtime cannot use ${file}: ${message.trim().split("\n")[0]}`,
    at: file,
    why: "the engine directory is incomplete or was changed after it was built",
    fix: "build the engine again",
  });
}
