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

/** The same with both products in one: `fc` is up_proj's rows and then gate_proj's, as TensorRT-LLM's swiglu has them. */
export function fusedMlp(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  { intermediate, activation, bias }: MlpSizes,
  group: TpGroup,
): Value {
  const hidden = dimOf(x, -1) as number;
  const both = linear(g, w, x, `${name}.fc`, { in: hidden, out: 2 * intermediate, bias });
  const [up, gate] = g.split(both, [intermediate, intermediate], 2) as [Value, Value];
  const product = g.multiply(up, activate(g, gate, activation));
  return rowParallelLinear(g, w, product, `${name}.proj`, { in: intermediate, out: hidden, bias }, group);
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
