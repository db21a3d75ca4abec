import { loraFunction } from "../../graph/functions.ts";
import type { GraphFunction, Value } from "../../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../../graph/ops.ts";
import { type FusedOp, isHalf, nodeAttributes, nodeFunction } from "./op.ts";

export const LORA: FusedOp = { name: "Lora", version: "1", inputs: ["base", "x", "a", "b", "task"], outputs: ["y"] };

export interface LoraOperands {
  readonly base: Value;
  readonly x: Value;
  readonly a: Value;
  readonly b: Value;
  readonly task: Value;
}

/**
 * base + x · a[task]ᵀ · b[task]ᵀ. The function of this name is the standard form already: as a node that a plugin may take
 * it only says so.
 */
export function lora(g: GraphBuilder, operands: LoraOperands): Value {
  const inputs = LORA.inputs.map(name => operands[name as keyof LoraOperands]);
  if (!g.plugins.has(LORA.name)) return g.call(loraFunction, inputs, operands.base);
  const { x, base } = operands;
  const fits = isHalf(x) && (dimOf(x, -1) as number) % 8 === 0 && (dimOf(base, -1) as number) % 8 === 0;
  return g.call(declared, inputs, base, fits ? nodeAttributes(LORA) : {});
}

const declared: GraphFunction = nodeFunction(loraFunction, LORA);
