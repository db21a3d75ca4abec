import type { Value } from "../../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../../graph/ops.ts";
import { activate } from "../../layers/activation.ts";
import { linear } from "../../layers/linear.ts";
import { layerNorm, rmsNormStoredLessOne } from "../../layers/norm.ts";
import { patchPool } from "../../layers/patch-pool.ts";
import { pixelShuffle } from "../../layers/pixel-shuffle.ts";
import type { WeightSource } from "../../layers/weights.ts";
import type { NameRule, VisualRule } from "../architecture.ts";
import type { ProjectorSpec } from "../spec.ts";
import { visualLinear, visualNorm } from "./weight-rules.ts";

const PREFIX = "multi_modal_projector";

/** Gemma 3's, whose product is stored [in, out]. */
const POOLED = { norm: `${PREFIX}.mm_soft_emb_norm`, product: `${PREFIX}.mm_input_projection_weight` };

/** PyTorch's LayerNorm, which is used with its default. */
const NORM_EPS = 1e-5;

/** transformers 5 puts the projector under `model.`. */
export const PROJECTOR_NAMES: readonly NameRule[] = [
  { stored: /^model\.multi_modal_projector\./, canonical: `${PREFIX}.` },
];

/** Canonical names of the linear layers, first to last. */
function layerNames({ kind, depth, name = "language_projection" }: ProjectorSpec): string[] {
  if (kind === "identity" || kind === "pool_linear") return [];
  if (kind === "linear") return [name];
  if (kind === "shuffle_linear") return ["connector.modality_projection.proj"];
  const layers = kind === "mlp" ? (depth ?? 1) : 2;
  return Array.from({ length: layers }, (_, i) => `${PREFIX}.linear_${i + 1}`);
}

/** Inputs and outputs of the linear layers, first to last. */
function layerSizes(projector: ProjectorSpec): { name: string; in: number; out: number }[] {
  const names = layerNames(projector);
  const { hiddenSize, outputSize } = projector;
  const first = foldedSize(projector);
  return names.map((name, i) => ({
    name,
    in: i === 0 ? first : hiddenSize,
    out: i === names.length - 1 ? outputSize : hiddenSize,
  }));
}

/** Channels after neighbours are put side by side. */
function foldedSize({ kind, inputSize, fold = 1 }: ProjectorSpec): number {
  return inputSize * (kind === "mlp_downsample" ? 2 : fold) ** 2;
}

export function projectorWeights(projector: ProjectorSpec): VisualRule[] {
  if (projector.kind === "pool_linear")
    return [
      { name: POOLED.product, shape: [projector.inputSize, projector.outputSize] },
      { name: `${POOLED.norm}.weight`, shape: [projector.inputSize] },
    ];
  const folds = projector.kind === "mlp_downsample" || projector.kind === "shuffle_mlp2";
  const norm = folds ? visualNorm(`${PREFIX}.norm`, foldedSize(projector)) : [];
  const layers = layerSizes(projector).flatMap(layer => visualLinear(layer.name, layer.out, layer.in, projector.bias));
  return [...norm, ...layers];
}

/** Linear layers with the activation between them, after a fold of neighbours and a norm where the kind has them. */
export function project(g: GraphBuilder, w: WeightSource, projector: ProjectorSpec, features: Value): Value {
  const { kind, bias, activation } = projector;
  if (kind === "pool_linear") return projectPooled(g, w, projector, features);
  let x = features;
  if (kind === "shuffle_linear") x = pixelShuffle(g, x, projector.fold ?? 1);
  if (kind === "mlp_downsample") x = layerNorm(g, w, foldNeighbours(g, x), `${PREFIX}.norm`, NORM_EPS);
  if (kind === "shuffle_mlp2") x = layerNorm(g, w, pixelShuffle(g, x, projector.fold ?? 1), `${PREFIX}.norm`, NORM_EPS);
  for (const [i, layer] of layerSizes(projector).entries()) {
    x = linear(g, w, i === 0 ? x : activate(g, x, activation), layer.name, { in: layer.in, out: layer.out, bias });
  }
  return x;
}

function projectPooled(g: GraphBuilder, w: WeightSource, projector: ProjectorSpec, features: Value): Value {
  const { inputSize, outputSize, fold = 1, normEps = NORM_EPS } = projector;
  const normed = rmsNormStoredLessOne(g, w, patchPool(g, features, fold), POOLED.norm, normEps);
  return g.matmul(normed, w.get(g, POOLED.product, [inputSize, outputSize]));
}

/** Rows after a 2 × 2 fold of a square grid of `rows`; undefined when it is no square. */
export function foldedRows(rows: number): number | undefined {
  const side = Math.round(Math.sqrt(rows));
  return side * side === rows ? Math.ceil(side / 2) ** 2 : undefined;
}

/**
 * [batch, side², c] → [batch, ⌈side/2⌉², 4c]: a zero row and column fill an odd side, and output row J·n + I holds
 * patches (2I, 2J), (2I, 2J+1), (2I+1, 2J), (2I+1, 2J+1) of the grid. Column by column, as VILA was trained (ADR 4).
 */
function foldNeighbours(g: GraphBuilder, x: Value): Value {
  const [rows, c] = [dimOf(x, 1) as number, dimOf(x, 2) as number];
  const side = Math.round(Math.sqrt(rows));
  const half = Math.ceil(side / 2);
  const odd = 2 * half - side;
  return g.scope("downsample", () => {
    const grid = g.reshape(x, ["batch", side, side, c]);
    const full = odd === 0 ? grid : g.pad(grid, [0, 0, 0, 0], [0, odd, odd, 0]);
    const folded = g.transpose(g.reshape(full, ["batch", half, 2, half, 2 * c]), [0, 3, 1, 2, 4]);
    return g.reshape(folded, ["batch", half * half, 4 * c]);
  });
}
