import type { GraphFunction } from "./graph.ts";

/**
 * Model-local functions of domain `mmtrt`. TensorRT's parser looks at the op name alone and prefers its own importer,
 * then a plugin, then this body; ONNX Runtime inlines the body (DESIGN §1, reference onnx.md §2).
 */

/**
 * softmax(q·kᵀ·scale + mask)·v for q [batch, heads, seq, d], k and v [batch, kv_heads, total, d], boolean mask
 * [batch, 1, seq, total] (true = visible). `TRT_decomposable` lets TensorRT fall back to plain kernels where no fused
 * one exists (float32); ONNX Runtime refuses that attribute on the standard op, so only the call carries it.
 */
export const attentionFunction: GraphFunction = {
  domain: "mmtrt",
  name: "Attention",
  inputs: ["q", "k", "v", "mask"],
  outputs: ["y"],
  attributes: ["scale", "TRT_decomposable"],
  nodes: [
    {
      op: "Attention",
      inputs: ["q", "k", "v", "mask"],
      outputs: ["y"],
      attributes: { scale: { ref: "scale", type: "float" } },
    },
  ],
};

/** The same without a mask: every query sees every key (vision encoders). */
export const fullAttentionFunction: GraphFunction = {
  ...attentionFunction,
  inputs: ["q", "k", "v"],
  nodes: [
    {
      op: "Attention",
      inputs: ["q", "k", "v"],
      outputs: ["y"],
      attributes: { scale: { ref: "scale", type: "float" } },
    },
  ],
};

const COLLECTIVE_ATTRIBUTES = ["collective_operation", "reduce_op", "root", "nb_rank", "groups", "group_size"];

/**
 * Sum over the tensor-parallel ranks: TensorRT's collective there. One rank alone has nothing to add, which lets ONNX
 * Runtime load its graph; what it computes is right once src/runtime/ranks/ puts the real sum in its place.
 */
export const allReduceFunction: GraphFunction = {
  domain: "mmtrt",
  name: "DistCollective",
  inputs: ["x"],
  outputs: ["y"],
  attributes: COLLECTIVE_ATTRIBUTES,
  nodes: [{ op: "Identity", inputs: ["x"], outputs: ["y"] }],
};

const gathers = new Map<number, GraphFunction>();

/**
 * The ranks' tensors one after the other on the first axis. TensorRT knows all collectives by one name, whatever the domain;
 * ONNX needs another domain, because the body has another shape: one rank alone stands for every rank.
 */
export function allGatherFunction(ranks: number): GraphFunction {
  const known = gathers.get(ranks);
  if (known !== undefined) return known;
  const made: GraphFunction = {
    ...allReduceFunction,
    domain: "mmtrt.all_gather",
    nodes: [
      { op: "Concat", inputs: new Array<string>(ranks).fill("x"), outputs: ["y"], attributes: { axis: { int: 0 } } },
    ],
  };
  gathers.set(ranks, made);
  return made;
}

/**
 * base + x·A[task]ᵀ·B[task]ᵀ for base [batch, seq, out], x [batch, seq, in], A [adapters, rank, in], B [adapters, out, rank],
 * task int32 [batch]: each item of the batch through the two thin matrices of its own adapter. The plugin of this name has
 * the same inputs.
 */
export const loraFunction: GraphFunction = {
  domain: "mmtrt",
  name: "Lora",
  inputs: ["base", "x", "a", "b", "task"],
  outputs: ["y"],
  attributes: [],
  nodes: [
    { op: "Gather", inputs: ["a", "task"], outputs: ["own_a"], attributes: { axis: { int: 0 } } },
    { op: "Transpose", inputs: ["own_a"], outputs: ["down"], attributes: { perm: { ints: [0, 2, 1] } } },
    { op: "MatMul", inputs: ["x", "down"], outputs: ["narrow"] },
    { op: "Gather", inputs: ["b", "task"], outputs: ["own_b"], attributes: { axis: { int: 0 } } },
    { op: "Transpose", inputs: ["own_b"], outputs: ["up"], attributes: { perm: { ints: [0, 2, 1] } } },
    { op: "MatMul", inputs: ["narrow", "up"], outputs: ["delta"] },
    { op: "Add", inputs: ["base", "delta"], outputs: ["y"] },
  ],
};
