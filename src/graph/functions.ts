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

/** Sum over the tensor-parallel ranks: TensorRT's collective there; one rank alone is the identity. */
export const allReduceFunction: GraphFunction = {
  domain: "mmtrt",
  name: "DistCollective",
  inputs: ["x"],
  outputs: ["y"],
  attributes: ["collective_operation", "reduce_op", "root", "nb_rank", "group_size"],
  nodes: [{ op: "Identity", inputs: ["x"], outputs: ["y"] }],
};
