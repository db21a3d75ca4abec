import { ORT_DOMAIN } from "../graph/dialect.ts";
import type { Attribute, Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import { dimOf } from "../graph/ops.ts";
import { LAYER_NORM, type LayerNormWeights, pluginLayerNorm } from "./fused/layer-norm.ts";
import type { FusedOp } from "./fused/op.ts";
import { pluginRmsNorm, RMS_NORM } from "./fused/rms-norm.ts";
import type { WeightSource } from "./weights.ts";

/** y = x · rsqrt(mean(x²) + eps) · gamma over the last axis; the mean is float32 even for half x, as in Hugging Face. */
export function rmsNorm(g: GraphBuilder, w: WeightSource, x: Value, name: string, eps: number): Value {
  const gamma = gammaOf(g, w, x, name);
  return pluginRmsNorm(g, x, gamma, eps, undefined, standardRmsNorm)?.y ?? standardRmsNorm(g, x, gamma, eps);
}

/** The same by 1 + gamma, all of it in float32: of visual parts, whose weights stay as they are stored. */
export function rmsNormStoredLessOne(g: GraphBuilder, w: WeightSource, x: Value, name: string, eps: number): Value {
  const gamma = g.cast(gammaOf(g, w, x, name), "float32");
  const wide = standardRmsNorm(g, g.cast(x, "float32"), g.add(gamma, g.scalar(1, "float32")), eps);
  return g.cast(wide, x.dtype);
}

export interface NormOfSum {
  readonly y: Value;
  readonly sum: Value;
}

/** sum = x + residual and its norm: the residual of the next layer, and what goes into this one. */
export function addRmsNorm(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  residual: Value,
  name: string,
  eps: number,
): NormOfSum {
  return normOfSum(g, RMS_NORM, x, residual, {
    both: () =>
      ortRmsNormOfSum(g, x, gammaOf(g, w, x, name), eps, residual) ??
      pluginRmsNorm(g, x, gammaOf(g, w, x, name), eps, residual, standardRmsNorm),
    norm: sum => rmsNorm(g, w, sum, name, eps),
  });
}

/** Whether one node adds the residual and norms the sum; sizes may still have none. */
export function hasNormOfSum({ plugins, dialect }: GraphBuilder, op: FusedOp): boolean {
  return plugins.has(op.name) || (dialect.ortOperators === true && op === RMS_NORM);
}

/** ONNX Runtime's node for both; mean and deviation, which it names as well, are for training. */
function ortRmsNormOfSum(g: GraphBuilder, x: Value, gamma: Value, eps: number, residual: Value): NormOfSum | undefined {
  if (g.dialect.ortOperators !== true || x.dtype !== "float32") return undefined;
  const unused = { dtype: x.dtype, shape: [...x.shape.slice(0, -1), 1] };
  const outputs = g.nodes(
    "SkipSimplifiedLayerNormalization",
    [residual, x, gamma],
    [x, unused, unused, x],
    { epsilon: { float: eps } },
    ORT_DOMAIN,
  );
  const [y, , , sum] = outputs as readonly [Value, Value, Value, Value];
  return { y, sum };
}

/** `both` in one node where the graph has one, which it has not for every size. */
function normOfSum(
  g: GraphBuilder,
  op: FusedOp,
  x: Value,
  residual: Value,
  { both, norm }: { both(): NormOfSum | undefined; norm(sum: Value): Value },
): NormOfSum {
  const fused = hasNormOfSum(g, op) ? both() : undefined;
  if (fused !== undefined) return fused;
  const sum = g.add(residual, x);
  return { y: norm(sum), sum };
}

function gammaOf(g: GraphBuilder, w: WeightSource, x: Value, name: string): Value {
  return w.get(g, `${name}.weight`, [dimOf(x, -1) as number]);
}

/** `epsilon` is eps as the node has it: in a function's body a reference. */
function standardRmsNorm(
  g: GraphBuilder,
  x: Value,
  gamma: Value,
  eps: number,
  epsilon: Attribute = { float: eps },
): Value {
  if (!g.dialect.rmsNormalization) {
    const wide = g.cast(x, "float32");
    const rms = g.sqrt(g.add(g.meanLast(g.multiply(wide, wide)), g.scalar(eps, "float32")));
    return g.multiply(g.cast(g.divide(wide, rms), x.dtype), gamma);
  }
  return g.node("RMSNormalization", [x, gamma], x, { axis: { int: -1 }, epsilon });
}

/** y = (x − mean(x)) · rsqrt(var(x) + eps) · gamma + beta over the last axis. */
export function layerNorm(g: GraphBuilder, w: WeightSource, x: Value, name: string, eps: number): Value {
  const weights = layerNormWeights(g, w, x, name);
  return (
    pluginLayerNorm(g, x, weights, eps, undefined, standardLayerNorm)?.y ??
    standardLayerNorm(g, x, weights, { float: eps })
  );
}

/** sum = x + residual and its norm. */
export function addLayerNorm(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  residual: Value,
  name: string,
  eps: number,
): NormOfSum {
  return normOfSum(g, LAYER_NORM, x, residual, {
    both: () => pluginLayerNorm(g, x, layerNormWeights(g, w, x, name), eps, residual, standardLayerNorm),
    norm: sum => layerNorm(g, w, sum, name, eps),
  });
}

function layerNormWeights(g: GraphBuilder, w: WeightSource, x: Value, name: string): LayerNormWeights {
  const size = dimOf(x, -1) as number;
  return { gamma: w.get(g, `${name}.weight`, [size]), beta: w.get(g, `${name}.bias`, [size]) };
}

function standardLayerNorm(g: GraphBuilder, x: Value, { gamma, beta }: LayerNormWeights, epsilon: Attribute): Value {
  return g.node("LayerNormalization", [x, gamma, beta], x, { axis: { int: -1 }, epsilon });
}
