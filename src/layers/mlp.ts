import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import { type Activation, activate } from "./activation.ts";
import type { TpGroup } from "./collective.ts";
import { linear, rowParallelLinear } from "./linear.ts";
import type { WeightSource } from "./weights.ts";

/** `intermediate` is the rank's share. */
export interface MlpSizes {
  readonly intermediate: number;
  readonly activation: Activation;
  readonly bias: boolean;
}

/**
 * down(act(fc(x)) · gate(x)). Mind TensorRT-LLM's names: `fc` is Hugging Face's gate_proj (the activated one), `gate` its up_proj.
 */
export function gatedMlp(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  sizes: MlpSizes,
  group: TpGroup,
): Value {
  const hidden = dimOf(x, -1) as number;
  const up = { in: hidden, out: sizes.intermediate, bias: sizes.bias };
  const activated = activate(g, linear(g, w, x, `${name}.fc`, up), sizes.activation);
  const product = g.multiply(activated, linear(g, w, x, `${name}.gate`, up));
  const down = { in: sizes.intermediate, out: hidden, bias: sizes.bias };
  return rowParallelLinear(g, w, product, `${name}.proj`, down, group);
}

/** proj(act(fc(x))). */
export function plainMlp(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  sizes: MlpSizes,
  group: TpGroup,
): Value {
  const hidden = dimOf(x, -1) as number;
  const up = linear(g, w, x, `${name}.fc`, { in: hidden, out: sizes.intermediate, bias: sizes.bias });
  const down = { in: sizes.intermediate, out: hidden, bias: sizes.bias };
  return rowParallelLinear(g, w, activate(g, up, sizes.activation), `${name}.proj`, down, group);
}
