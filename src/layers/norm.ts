import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import { dimOf } from "../graph/ops.ts";
import type { WeightSource } from "./weights.ts";

/** y = x · rsqrt(mean(x²) + eps) · gamma over the last axis; the mean is float32 even for half x, as in Hugging Face. */
export function rmsNorm(g: GraphBuilder, w: WeightSource, x: Value, name: string, eps: number): Value {
  const gamma = w.get(g, `${name}.weight`, [dimOf(x, -1) as number]);
  if (!g.dialect.rmsNormalization) {
    const wide = g.cast(x, "float32");
    const rms = g.sqrt(g.add(g.meanLast(g.multiply(wide, wide)), g.scalar(eps, "float32")));
    return g.multiply(g.cast(g.divide(wide, rms), x.dtype), gamma);
  }
  return g.node("RMSNormalization", [x, gamma], x, { axis: { int: -1 }, epsilon: { float: eps } });
}

/** y = (x − mean(x)) · rsqrt(var(x) + eps) · gamma + beta over the last axis. */
export function layerNorm(g: GraphBuilder, w: WeightSource, x: Value, name: string, eps: number): Value {
  const size = dimOf(x, -1) as number;
  const gamma = w.get(g, `${name}.weight`, [size]);
  const beta = w.get(g, `${name}.bias`, [size]);
  return g.node("LayerNormalization", [x, gamma, beta], x, { axis: { int: -1 }, epsilon: { float: eps } });
}
