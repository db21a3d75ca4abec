import { f32ToBf16, f32ToF16 } from "../tensor/half.ts";
import { DTYPES, type Dtype, elementCount, isFloatDtype } from "../tensor/index.ts";
import { GraphRecorder } from "./builder.ts";
import { addDims, type Dim, type DimShape, multiplyDims } from "./dim.ts";
import type { Attribute, Attributes, Value } from "./graph.ts";

/** Standard ONNX operators as typed methods: shapes and dtypes are inferred as the graph is built. */
export class GraphBuilder extends GraphRecorder {
  // — elementwise ————————————————————————————————————————————————————————————
  add(a: Value, b: Value): Value {
    return this.#binary("Add", a, b);
  }
  subtract(a: Value, b: Value): Value {
    return this.#binary("Sub", a, b);
  }
  multiply(a: Value, b: Value): Value {
    return this.#binary("Mul", a, b);
  }
  less(a: Value, b: Value): Value {
    return this.#binary("Less", a, b, "bool");
  }
  lessOrEqual(a: Value, b: Value): Value {
    return this.#binary("LessOrEqual", a, b, "bool");
  }
  equal(a: Value, b: Value): Value {
    return this.#binary("Equal", a, b, "bool");
  }
  or(a: Value, b: Value): Value {
    return this.#binary("Or", a, b, "bool");
  }
  and(a: Value, b: Value): Value {
    return this.#binary("And", a, b, "bool");
  }
  where(condition: Value, a: Value, b: Value): Value {
    sameDtype("Where", a, b);
    const shape = broadcast("Where", broadcast("Where", condition.shape, a.shape), b.shape);
    return this.node("Where", [condition, a, b], { dtype: a.dtype, shape });
  }
  divide(a: Value, b: Value): Value {
    return this.#binary("Div", a, b);
  }
  minimum(a: Value, b: Value): Value {
    return this.#binary("Min", a, b);
  }
  maximum(a: Value, b: Value): Value {
    return this.#binary("Max", a, b);
  }
  sqrt(x: Value): Value {
    return this.node("Sqrt", [x], x);
  }
  negate(x: Value): Value {
    return this.node("Neg", [x], x);
  }
  /** Mean over the last axis, which stays with size 1. */
  meanLast(x: Value): Value {
    const shape = [...x.shape.slice(0, -1), 1];
    return this.node("ReduceMean", [x, this.int64s([-1])], { dtype: x.dtype, shape }, { keepdims: { int: 1 } });
  }
  /** Sum over the last axis, which goes. */
  sumLast(x: Value): Value {
    const shape = x.shape.slice(0, -1);
    return this.node("ReduceSum", [x, this.int64s([-1])], { dtype: x.dtype, shape }, { keepdims: { int: 0 } });
  }
  /** Largest value of the last axis, which stays with size 1. */
  maxLast(x: Value): Value {
    const shape = [...x.shape.slice(0, -1), 1];
    return this.node("ReduceMax", [x, this.int64s([-1])], { dtype: x.dtype, shape }, { keepdims: { int: 1 } });
  }
  /** To the nearest whole number, halves to the even one. */
  round(x: Value): Value {
    return this.node("Round", [x], x);
  }
  absolute(x: Value): Value {
    return this.node("Abs", [x], x);
  }
  softmaxLast(x: Value): Value {
    return this.node("Softmax", [x], x, { axis: { int: -1 } });
  }
  sigmoid(x: Value): Value {
    return this.node("Sigmoid", [x], x);
  }
  tanh(x: Value): Value {
    return this.node("Tanh", [x], x);
  }
  relu(x: Value): Value {
    return this.node("Relu", [x], x);
  }
  /** Gaussian error linear unit: exact (erf) or its tanh approximation. */
  gelu(x: Value, approximate: "none" | "tanh"): Value {
    return this.node("Gelu", [x], x, { approximate: { text: approximate } });
  }
  cast(x: Value, dtype: Dtype): Value {
    if (x.dtype === dtype) return x;
    return this.node("Cast", [x], { dtype, shape: x.shape }, { to: { int: DTYPES[dtype].onnx } });
  }

  // — matrices ———————————————————————————————————————————————————————————————
  /** Batched matrix product over the last two axes. */
  matmul(a: Value, b: Value): Value {
    sameDtype("MatMul", a, b);
    const [m, k] = a.shape.slice(-2) as [Dim, Dim];
    const [k2, n] = b.shape.slice(-2) as [Dim, Dim];
    if (a.shape.length < 2 || b.shape.length < 2 || k !== k2) throw shapeError("MatMul", a.shape, b.shape);
    const batch = broadcast("MatMul", a.shape.slice(0, -2), b.shape.slice(0, -2));
    return this.node("MatMul", [a, b], { dtype: a.dtype, shape: [...batch, m, n] });
  }

  // — codes ——————————————————————————————————————————————————————————————————
  /** round(x / scale), saturated to `dtype`. A scale of one element is for all of x, of one axis for each slice of it. */
  quantize(x: Value, scale: Value, dtype: "int8" | "float8_e4m3fn", { axis }: { axis?: number } = {}): Value {
    sameDtype("QuantizeLinear", x, scale);
    // The zero point only names the type of the codes; without it they would be uint8.
    const zero = this.constant(dtype, scale.shape as number[], new Uint8Array(elementCount(scale.shape as number[])));
    const attributes: Attributes = axis === undefined ? {} : { axis: { int: axis } };
    return this.node("QuantizeLinear", [x, scale, zero], { dtype, shape: x.shape }, attributes);
  }
  /** codes · scale in the scale's dtype; with `blockSize` a scale serves that many neighbours on `axis`. */
  dequantize(codes: Value, scale: Value, { axis, blockSize }: { axis?: number; blockSize?: Attribute } = {}): Value {
    const attributes: Attributes = {
      ...(axis !== undefined && { axis: { int: axis } }),
      ...(blockSize !== undefined && { block_size: blockSize }),
    };
    return this.node("DequantizeLinear", [codes, scale], { dtype: scale.dtype, shape: codes.shape }, attributes);
  }

  // — layout —————————————————————————————————————————————————————————————————
  transpose(x: Value, order: readonly number[]): Value {
    return this.node(
      "Transpose",
      [x],
      { dtype: x.dtype, shape: order.map(axis => dimOf(x, axis)) },
      { perm: { ints: order } },
    );
  }
  /** At most one dim of `shape` may be symbolic per "carried" axis: a symbolic dim equal to x's at the same axis becomes 0, one other becomes −1. */
  reshape(x: Value, shape: DimShape): Value {
    const target = shape.map((dim, axis) => (typeof dim === "number" ? dim : dim === x.shape[axis] ? 0 : -1));
    if (target.filter(size => size === -1).length > 1) throw shapeError("Reshape", x.shape, shape);
    const product = (dims: DimShape): Dim => dims.reduce((a, b) => multiplyDims(a, b), 1);
    if (product(x.shape) !== product(shape)) throw shapeError("Reshape", x.shape, shape);
    return this.node("Reshape", [x, this.int64s(target)], { dtype: x.dtype, shape });
  }
  unsqueeze(x: Value, axes: readonly number[]): Value {
    const shape: Dim[] = [...x.shape];
    for (const axis of [...axes].sort((a, b) => a - b)) shape.splice(axis, 0, 1);
    return this.node("Unsqueeze", [x, this.int64s(axes)], { dtype: x.dtype, shape });
  }
  concat(parts: readonly Value[], axis: number): Value {
    const [first, ...rest] = parts as [Value, ...Value[]];
    const at = axis < 0 ? first.shape.length + axis : axis;
    for (const part of rest) {
      sameDtype("Concat", first, part);
      if (part.shape.some((dim, i) => i !== at && dim !== first.shape[i]))
        throw shapeError("Concat", first.shape, part.shape);
    }
    const size = parts.map(part => dimOf(part, at)).reduce(addDims);
    return this.node(
      "Concat",
      parts,
      { dtype: first.dtype, shape: first.shape.map((dim, i) => (i === at ? size : dim)) },
      { axis: { int: at } },
    );
  }
  /** Cuts `axis` into pieces of the given sizes. */
  split(x: Value, sizes: readonly number[], axis: number): readonly Value[] {
    if (sizes.reduce((a, b) => a + b, 0) !== dimOf(x, axis)) throw shapeError("Split", x.shape, sizes);
    const outputs = sizes.map(size => ({ dtype: x.dtype, shape: x.shape.map((dim, i) => (i === axis ? size : dim)) }));
    return this.nodes("Split", [x, this.int64s(sizes)], outputs, { axis: { int: axis } });
  }
  /** Rows [start, end) of one axis; both are known numbers. */
  slice(x: Value, axis: number, start: number, end: number): Value {
    const shape = x.shape.map((dim, i) => (i === axis ? end - start : dim));
    return this.node("Slice", [x, this.int64s([start]), this.int64s([end]), this.int64s([axis])], {
      dtype: x.dtype,
      shape,
    });
  }
  /** Zeros before and after, as many on each axis as the lists say. */
  pad(x: Value, before: readonly number[], after: readonly number[]): Value {
    const shape = x.shape.map((dim, i) => addDims(dim, (before[i] ?? 0) + (after[i] ?? 0)));
    return this.node("Pad", [x, this.int64s([...before, ...after])], { dtype: x.dtype, shape });
  }
  expand(x: Value, shape: Value, result: DimShape): Value {
    return this.node("Expand", [x, shape], { dtype: x.dtype, shape: result });
  }

  // — look-ups ———————————————————————————————————————————————————————————————
  /** table[indices] along `axis`. */
  gather(table: Value, indices: Value, axis = 0): Value {
    const shape = [...table.shape.slice(0, axis), ...indices.shape, ...table.shape.slice(axis + 1)];
    return this.node("Gather", [table, indices], { dtype: table.dtype, shape }, { axis: { int: axis } });
  }
  /** One row per batch item: x [batch, n, …], rows int64 [batch] → [batch, …]. */
  gatherRow(x: Value, rows: Value): Value {
    const shape = [dimOf(x, 0), ...x.shape.slice(2)];
    return this.node("GatherND", [x, this.unsqueeze(rows, [1])], { dtype: x.dtype, shape }, { batch_dims: { int: 1 } });
  }
  /** The run-time size of one axis, int64 [1]. */
  sizeOf(x: Value, axis: number): Value {
    return this.node("Shape", [x], { dtype: "int64", shape: [1] }, { start: { int: axis }, end: { int: axis + 1 } });
  }
  /** 0 … n−1 as int64 [length]; `n` is int64 [1]. */
  range(n: Value, length: Dim): Value {
    const scalar = this.node("Squeeze", [n, this.int64s([0])], { dtype: "int64", shape: [] });
    const zero = this.constant("int64", [], new Uint8Array(new BigInt64Array([0n]).buffer));
    const one = this.constant("int64", [], new Uint8Array(new BigInt64Array([1n]).buffer));
    return this.node("Range", [zero, scalar, one], { dtype: "int64", shape: [length] });
  }

  // — constants ——————————————————————————————————————————————————————————————
  int64s(values: readonly number[]): Value {
    return this.constant("int64", [values.length], new Uint8Array(new BigInt64Array(values.map(BigInt)).buffer));
  }
  int32(value: number): Value {
    return this.int32s([value], []);
  }
  int32s(values: readonly number[], shape: readonly number[]): Value {
    return this.constant("int32", shape, new Uint8Array(Int32Array.from(values).buffer));
  }
  /** A floating scalar in `dtype`. */
  scalar(value: number, dtype: Dtype): Value {
    return this.floats(new Float32Array([value]), [], dtype);
  }
  floats(values: Float32Array, shape: readonly number[], dtype: Dtype): Value {
    if (!isFloatDtype(dtype)) throw new Error(`a float constant cannot be ${dtype}`);
    return this.constant(dtype, shape, encodeFloats(values, dtype));
  }

  #binary(op: string, a: Value, b: Value, result?: Dtype): Value {
    sameDtype(op, a, b);
    return this.node(op, [a, b], { dtype: result ?? a.dtype, shape: broadcast(op, a.shape, b.shape) });
  }
}

function encodeFloats(values: Float32Array, dtype: "float32" | "float16" | "bfloat16"): Uint8Array {
  if (dtype === "float32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const halves = new Uint16Array(values.length);
  (dtype === "float16" ? f32ToF16 : f32ToBf16)(values, halves);
  return new Uint8Array(halves.buffer);
}

/** NumPy broadcasting; a symbolic dim fits itself and 1. */
export function broadcast(op: string, a: DimShape, b: DimShape): DimShape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x === y || y === 1) return x;
    if (x === 1) return y;
    throw shapeError(op, a, b);
  });
}

export function dimOf(x: Value, axis: number): Dim {
  const dim = x.shape.at(axis);
  if (dim === undefined) throw new Error(`${x.name} [${x.shape}] has no axis ${axis}`);
  return dim;
}

function sameDtype(op: string, a: Value, b: Value): void {
  if (a.dtype !== b.dtype)
    throw new Error(`${op} of ${a.name} (${a.dtype}) and ${b.name} (${b.dtype}): the dtypes differ`);
}

function shapeError(op: string, a: DimShape, b: DimShape): Error {
  return new Error(`${op} does not fit [${a.join(", ")}] and [${b.join(", ")}]`);
}
