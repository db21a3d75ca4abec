import type { Value } from "../../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../../graph/ops.ts";
import { type Activation, activate } from "../activation.ts";
import { type FusedOp, fused, isHalf } from "./op.ts";

export const FUSED_GATED_MLP: FusedOp = {
  name: "FusedGatedMlp",
  version: "1",
  inputs: ["x", "gate", "up", "gate_bias", "up_bias"],
  outputs: ["y"],
};

/** Values of the attribute `activation`. The exact GELU has none. */
const ACTIVATIONS: Readonly<Partial<Record<Activation, number>>> = { gelu_tanh: 1, silu: 2, quick_gelu: 3, relu: 4 };

/** Weights [n, k] as checkpoints have them; `gate` is the activated half. Biases are there both or neither. */
export interface GatedWeights {
  readonly gate: Value;
  readonly up: Value;
  readonly gateBias: Value | undefined;
  readonly upBias: Value | undefined;
}

/** Whether `k` → `n` with this activation is one of its products. */
export function isGatedNode(g: GraphBuilder, x: Value, n: number, activation: Activation): boolean {
  const k = dimOf(x, -1) as number;
  return g.plugins.has(FUSED_GATED_MLP.name) && isHalf(x) && k % 8 === 0 && n % 8 === 0 && activation in ACTIVATIONS;
}

/** activation(x · gateᵀ) · (x · upᵀ) in one pass over x. undefined where the graph has no such node. */
export function pluginGatedMlp(
  g: GraphBuilder,
  x: Value,
  { gate, up, gateBias, upBias }: GatedWeights,
  activation: Activation,
): Value | undefined {
  if (!isHalf(x)) return undefined;
  const n = dimOf(gate, 0);
  const [y] =
    fused(g, FUSED_GATED_MLP, {
      inputs: { x, gate, up, gate_bias: gateBias ?? x.dtype, up_bias: upBias ?? x.dtype },
      outputs: [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), n] }],
      attributes: { activation: { int: ACTIVATIONS[activation] ?? 0 } },
      body(b, inputs) {
        const half = (weight: string, bias: string): Value =>
          b.add(b.matmul(inputs.x as Value, b.transpose(inputs[weight] as Value, [1, 0])), inputs[bias] as Value);
        return [b.multiply(activate(b, half("gate", "gate_bias"), activation), half("up", "up_bias"))];
      },
    }) ?? [];
  return y;
}
