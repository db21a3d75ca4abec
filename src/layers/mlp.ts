import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import { type Activation, activate } from "./activation.ts";
import type { TpGroup } from "./collective.ts";
import { isGatedNode, pluginGatedMlp } from "./fused/fused-gated-mlp.ts";
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
  const product = gatedProduct(g, w, x, name, sizes);
  const down = { in: sizes.intermediate, out: hidden, bias: sizes.bias };
  return rowParallelLinear(g, w, product, `${name}.proj`, down, group);
}

/** act(fc(x)) · gate(x): one node where the graph has it for plain weights that no adapter changes. */
function gatedProduct(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  { intermediate, activation, bias }: MlpSizes,
): Value {
  const hidden = dimOf(x, -1) as number;
  const [fc, gate] = [`${name}.fc`, `${name}.gate`];
  const isPlain = (product: string): boolean => w.form(product).kind === "plain" && !w.adapters?.changes(product);
  if (isGatedNode(g, x, intermediate, activation) && isPlain(fc) && isPlain(gate)) {
    const weight = (product: string): Value => w.get(g, `${product}.weight`, [intermediate, hidden]);
    const biasOf = (product: string): Value | undefined =>
      bias ? w.get(g, `${product}.bias`, [intermediate]) : undefined;
    const weights = { gate: weight(fc), up: weight(gate), gateBias: biasOf(fc), upBias: biasOf(gate) };
    const fused = pluginGatedMlp(g, x, weights, activation);
    if (fused !== undefined) return fused;
  }
  const up = { in: hidden, out: intermediate, bias };
  const activated = activate(g, linear(g, w, x, fc, up), activation);
  return g.multiply(activated, linear(g, w, x, gate, up));
}

/** gatedMlp with both products in one: `fc` is up_proj's rows and then gate_proj's, as TensorRT-LLM's swiglu has them. */
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
