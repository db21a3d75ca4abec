import type { LoraModule, LoraModuleName, LoraPart } from "../../tensor/index.ts";
import type { WeightRule } from "../architecture.ts";
import type { DecoderSpec } from "../spec.ts";

/** TensorRT-LLM's adapter names of its own products. The trap is its MLP's: fc is gate_proj, and is called mlp_h_to_4h. */
const NAMES: Readonly<Record<string, LoraModuleName>> = {
  "attention.dense": "attn_dense",
  "mlp.fc": "mlp_h_to_4h",
  "mlp.proj": "mlp_4h_to_h",
  "mlp.gate": "mlp_gate",
};
/** Stored apart in most families, and adapted apart although the graph has one product of them. */
const QKV: readonly LoraModuleName[] = ["attn_q", "attn_k", "attn_v"];

/** The linear layers of a decoder layer, read off the rules that its weights are converted by. */
export function loraModules(spec: DecoderSpec, rules: readonly WeightRule[]): readonly LoraModule[] {
  return rules.flatMap(rule => {
    const product = /^transformer\.layers\.\{l\}\.(.+)\.weight$/.exec(rule.to)?.[1];
    if (rule.stage !== "layer" || product === undefined) return [];
    const names = product === "attention.qkv" ? qkvNames(rule) : NAMES[product] ? [NAMES[product]] : [];
    return names.map((name, i) => moduleOf(spec, rule, product, name, i));
  });
}

/** GPT-2 has one layer for all three, and so one adapter. */
function qkvNames({ from }: WeightRule): readonly LoraModuleName[] {
  return from.length === 1 ? ["attn_qkv"] : QKV;
}

function moduleOf(
  spec: DecoderSpec,
  { from, transpose, cut, rows: order, split }: WeightRule,
  product: string,
  name: LoraModuleName,
  index: number,
): LoraModule {
  const { name: stored, shape } = from[index] as WeightRule["from"][number];
  const [rows, columns] = shape as readonly [number, number];
  const [out, width] = transpose ? [columns, rows] : [rows, columns];
  const heads = (part: number): number => (part === 0 ? spec.heads : spec.kvHeads);
  const parts: LoraPart[] =
    split === "qkv"
      ? (cut ?? [out]).map((size, part) => ({ rows: size, units: heads(cut ? part : index) }))
      : split === "halves"
        ? [out / 2, out / 2].map(half => ({ rows: half, units: half }))
        : [{ rows: out, units: out }];
  return {
    name,
    product,
    hf: stored.replace(/\.weight$/, ""),
    in: width,
    out,
    conv1d: transpose === true,
    split: split === "row" ? "row" : "column",
    parts,
    ...(order && { rows: order }),
  };
}
