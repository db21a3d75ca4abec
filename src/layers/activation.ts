import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";

export type Activation = "silu" | "gelu" | "gelu_tanh" | "quick_gelu" | "relu";

/** silu: x·σ(x) (not Swish-24: TensorRT knows that from 11.0 only) · quick_gelu: x·σ(1.702x) · gelu: x·Φ(x), exact or by tanh. */
export function activate(g: GraphBuilder, x: Value, kind: Activation): Value {
  switch (kind) {
    case "silu":
      return g.multiply(x, g.sigmoid(x));
    case "quick_gelu":
      return g.multiply(x, g.sigmoid(g.multiply(x, g.scalar(1.702, x.dtype))));
    case "gelu":
      return g.gelu(x, "none");
    case "gelu_tanh":
      return g.gelu(x, "tanh");
    case "relu":
      return g.relu(x);
  }
}
