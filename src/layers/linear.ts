import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import { allReduce, type TpGroup } from "./collective.ts";
import { GEMM, pluginGemm } from "./fused/gemm.ts";
import { quantizedProduct } from "./quantized-linear.ts";
import type { WeightSource } from "./weights.ts";

/**
 * y = x · Wᵀ (+ b). A plain W is stored [out, in] as Hugging Face keeps it, and both engines fold the transpose into the
 * product; a quantized one has a form of its own.
 */
export function linear(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  sizes: { in: number; out: number; bias?: boolean },
): Value {
  const form = w.form(name);
  if (form.kind !== "plain") return withAdapters(g, w, x, name, quantizedProduct(g, w, x, name, sizes, form), sizes);
  const weight = w.get(g, `${name}.weight`, [sizes.out, sizes.in]);
  if (g.plugins.has(GEMM.name) && !w.adapters?.changes(name)) {
    const y = pluginGemm(g, x, weight, sizes.bias ? w.get(g, `${name}.bias`, [sizes.out]) : undefined);
    if (y !== undefined) return y;
  }
  return withAdapters(g, w, x, name, g.matmul(x, g.transpose(weight, [1, 0])), sizes);
}

/** Adapters change the product; the bias comes after them. */
function withAdapters(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  product: Value,
  sizes: { out: number; bias?: boolean },
): Value {
  const y = w.adapters?.add(g, name, x, product) ?? product;
  return sizes.bias ? g.add(y, w.get(g, `${name}.bias`, [sizes.out])) : y;
}

/** Outputs [start, end) of a linear layer alone: one part of a fused q, k, v. Both engines cut the weight at load. Plain weights only. */
export function linearRows(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  sizes: { in: number; out: number; bias?: boolean },
  [start, end]: readonly [number, number],
): Value {
  if (w.form(name).kind !== "plain") throw new Error(`${name} is quantized and cannot be cut`);
  const weight = g.slice(w.get(g, `${name}.weight`, [sizes.out, sizes.in]), 0, start, end);
  const y = g.matmul(x, g.transpose(weight, [1, 0]));
  return sizes.bias ? g.add(y, g.slice(w.get(g, `${name}.bias`, [sizes.out]), 0, start, end)) : y;
}

/** A product whose inputs are split over the ranks: partial sums are reduced, and the bias, whole on every rank, is added once after that. */
export function rowParallelLinear(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  sizes: { in: number; out: number; bias?: boolean },
  group: TpGroup,
): Value {
  const sum = allReduce(g, linear(g, w, x, name, { in: sizes.in, out: sizes.out }), group);
  return sizes.bias ? g.add(sum, w.get(g, `${name}.bias`, [sizes.out])) : sum;
}
