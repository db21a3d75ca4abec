import type { Graph, Value } from "../../graph/graph.ts";
import { GraphBuilder } from "../../graph/ops.ts";
import type { Dtype } from "../../tensor/index.ts";
import type { KvCache } from "../kv-cache.ts";
import type { RopeTables } from "../rope.ts";
import { type HeadSizes, type Scoring, type SelfAttention, standardSelfAttention } from "../self-attention.ts";
import { type FusedOp, leftOut, pluginNode } from "./op.ts";

export const GPT_ATTENTION: FusedOp = {
  name: "GptAttention",
  version: "1",
  inputs: [
    "qkv",
    "lengths",
    "past_key",
    "past_value",
    "attention_mask",
    "cos",
    "sin",
    "kv_scale",
    "block_table",
    "cache_indirection",
    "bias",
  ],
  outputs: ["y", "present_key", "present_value"],
};

/** Values of the attribute `cache`. */
const CACHES = { continuous: 0, static: 1, paged: 2 } as const;

export interface PluginAttention extends HeadSizes, Omit<Scoring, "cap" | "window"> {
  /** Tokens that a query sees in every layer, itself included; undefined for all. */
  readonly window: number | undefined;
  readonly cacheType: keyof typeof CACHES;
  /** The factor of a coded cache's codes, float32 [1]; absent for a plain cache. */
  readonly kvScale?: (layer: number) => Value;
  /** The cache on a builder, for queries that lie as `like` does; `scale` gives that factor. */
  cacheOn(g: GraphBuilder, like: Value, scale: (layer: number) => Value): KvCache;
}

/**
 * Self-attention as one node a layer. Its body is recorded from the same layers that write the standard form, for a layer
 * alone: what the record takes and gives under a layer's number are the cache's inputs and outputs of the whole graph.
 */
export function pluginSelfAttention(g: GraphBuilder, attention: PluginAttention): SelfAttention {
  const state = new Map<string, Value>();
  const presents: [string, Value][] = [];
  return {
    attend(layer, qkv) {
      const rope = attention.rope(layer);
      const record = recordLayer(g, attention, rope, qkv);
      const given: Readonly<Record<string, Value | undefined>> = {
        qkv,
        cos: rope?.cos,
        sin: rope?.sin,
        ...(attention.kvScale && { kv_scale: attention.kvScale(layer) }),
      };
      const stateOf = ({ name, dtype, shape }: Value): Value => {
        const numbered = ofLayer(name, layer);
        const known = state.get(numbered) ?? g.input(numbered, dtype, shape);
        state.set(numbered, known);
        return known;
      };
      // In the order in which the standard form declares them.
      for (const formal of record.inputs) if (given[formal.name] === undefined) stateOf(formal);
      const slots = GPT_ATTENTION.inputs.map(slot => {
        const formal = record.inputs.find(({ name }) => slotOf(name) === slot);
        if (formal === undefined) return { name: slot, input: leftOut(g, absentDtype(slot, qkv.dtype)) };
        return { name: formal.name, input: given[slot] ?? stateOf(formal) };
      });
      const call = { record, names: slots.map(({ name }) => name), inputs: slots.map(({ input }) => input) };
      const outputs = pluginNode(g, GPT_ATTENTION, call, {
        outputs: record.outputs,
        attributes: attributesOf(attention),
      });
      const [y, ...rest] = outputs ?? [];
      if (y === undefined) throw new Error(`layer ${layer} has another attention than the layers before it`);
      for (const [index, value] of rest.entries())
        presents.push([ofLayer(record.outputs[index + 1]?.name ?? "", layer), value]);
      return y;
    },
    finish() {
      for (const [name, value] of presents) g.output(value, name);
    },
  };
}

function attributesOf({ heads, kvHeads, scale, window, cacheType }: PluginAttention) {
  return {
    num_heads: { int: heads },
    num_kv_heads: { int: kvHeads },
    scale: { float: scale },
    window: { int: window ?? 0 },
    cache: { int: CACHES[cacheType] },
  };
}

export const HEAD_DIMS: readonly number[] = [64, 80, 96, 128, 256];

/** What the kernels are compiled for. A block of 8 tokens is half a tensor-core step. */
export function hasAttentionKernel(compute: Dtype, headDim: number, tokensPerBlock = 16): boolean {
  return compute !== "float32" && HEAD_DIMS.includes(headDim) && tokensPerBlock >= 16;
}

/** One layer, number 0, from its product for q, k, v to what its output product takes. */
function recordLayer(
  { dialect }: GraphBuilder,
  attention: PluginAttention,
  rope: RopeTables | undefined,
  { dtype, shape }: Value,
): Graph {
  const b = new GraphBuilder(GPT_ATTENTION.name, dialect);
  const qkv = b.input("qkv", dtype, shape);
  const tables = rope && {
    cos: b.input("cos", rope.cos.dtype, rope.cos.shape),
    sin: b.input("sin", rope.sin.dtype, rope.sin.shape),
  };
  const scale = attention.kvScale && b.input("kv_scale", "float32", [1]);
  const scaleOf = (): Value => {
    if (scale === undefined) throw new Error("a plain cache has no scale");
    return b.cast(scale, dtype);
  };
  const scoring = { scale: attention.scale, rope: () => tables, window: () => attention.window };
  const standard = standardSelfAttention(b, attention, scoring, attention.cacheOn(b, qkv, scaleOf));
  b.output(standard.attend(0, qkv), "y");
  standard.finish();
  return b.finish();
}

/** The operation's name of what the record calls `past_key_0`, `cache_key_0` or `cache_lengths`. */
function slotOf(recorded: string): string {
  if (recorded === "cache_lengths") return "lengths";
  return recorded.replace(/^(?:past|cache)_(key|value)_0$/, "past_$1");
}

function ofLayer(recorded: string, layer: number): string {
  return recorded.replace(/_0(?=$|_out$)/, `_${layer}`);
}

function absentDtype(slot: string, compute: Dtype): Dtype {
  if (slot === "kv_scale") return "float32";
  return slot === "cos" || slot === "sin" || slot === "bias" ? compute : "int32";
}
