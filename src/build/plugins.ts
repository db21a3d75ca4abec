import { type PluginLibrary, readPluginLibrary } from "../formats/plugin-library.ts";
import type { Graph } from "../graph/graph.ts";
import { GPT_ATTENTION, HEAD_DIMS, hasAttentionKernel } from "../layers/fused/gpt-attention.ts";
import { LAYER_NORM } from "../layers/fused/layer-norm.ts";
import type { FusedOp } from "../layers/fused/op.ts";
import { PROMPT_TUNING_EMBEDDING } from "../layers/fused/prompt-tuning-embedding.ts";
import { RMS_NORM } from "../layers/fused/rms-norm.ts";
import { WEIGHT_ONLY_MATMUL } from "../layers/fused/weight-only-matmul.ts";
import type { BuildSettings } from "../rules/rule.ts";
import type { FloatDtype } from "../tensor/index.ts";
import type { Adjustment } from "./settings.ts";

/** The option that speaks for each operation. */
const OPTION_OF = {
  gpt_attention_plugin: GPT_ATTENTION,
  weight_only_quant_matmul_plugin: WEIGHT_ONLY_MATMUL,
  rmsnorm_plugin: RMS_NORM,
  layernorm_plugin: LAYER_NORM,
  lookup_plugin: PROMPT_TUNING_EMBEDDING,
} as const satisfies Partial<Record<keyof BuildSettings, FusedOp>>;
type PluginOption = keyof typeof OPTION_OF;

export interface ChosenPlugins {
  /** Names of the operations that become nodes. */
  readonly ops: readonly string[];
  readonly adjustments: readonly Adjustment[];
}

/**
 * What the libraries named by --plugins hold. One that cannot be read is left to TensorRT, which loads it and says why not.
 */
export async function readPluginLibraries(files: readonly string[]): Promise<readonly PluginLibrary[]> {
  const read = await Promise.all(files.map(file => readPluginLibrary(file).catch(() => undefined)));
  return read.filter(library => library !== undefined);
}

/** What decides about nodes besides the options. */
export interface PluginFacts {
  readonly computeDtype: FloatDtype;
  readonly headDim: number;
  readonly libraries: readonly PluginLibrary[];
}

/**
 * auto: nodes for what a library brings to the backend · a dtype: nodes in any case, whose standard bodies run where no library
 * has them · disable: none. What has no kernel is never a node.
 */
export function choosePlugins(build: BuildSettings, facts: PluginFacts): ChosenPlugins {
  const chosen = (Object.keys(OPTION_OF) as PluginOption[]).map(option => choose(option, build, facts));
  return {
    ops: chosen.flatMap(({ op }) => op ?? []),
    adjustments: chosen.flatMap(({ adjustment }) => adjustment ?? []),
  };
}

function choose(
  option: PluginOption,
  build: BuildSettings,
  { computeDtype, headDim, libraries }: PluginFacts,
): { readonly op?: string; readonly adjustment?: Adjustment } {
  const { name } = OPTION_OF[option];
  const from = build[option];
  if (from === "disable") return {};
  const asked = from !== "auto";
  const caller = build.backend === "onnxruntime" ? "onnxruntime" : "tensorrt";
  const hasLibrary = libraries.some(library => brings(library, caller, OPTION_OF[option]));
  const without = (why: string) => ({ adjustment: { option, from, to: "disable", why } });
  const lacking = withoutKernel(option, build, computeDtype, headDim);
  if (lacking !== undefined) return asked || hasLibrary ? without(lacking) : {};
  if (hasLibrary) return { op: name };
  const missing = `no library of --plugins has ${name}`;
  if (asked && name === WEIGHT_ONLY_MATMUL.name && build.backend !== "onnxruntime")
    // The layer of a DequantizeLinear keeps the name that the body gives it, and a second layer of that name is refused.
    return without(`${missing}, and TensorRT's parser takes its body once a graph`);
  if (asked) {
    const why = `${missing}, so its nodes run as the standard operators of their bodies`;
    return { op: name, adjustment: { option, from, to: computeDtype, why } };
  }
  const copies = option === "gpt_attention_plugin" && build.kv_cache_type === "paged";
  return copies && build.backend !== "onnxruntime"
    ? without(`${missing}, and standard operators copy the whole pool of a paged cache at every step`)
    : {};
}

function withoutKernel(
  option: PluginOption,
  { kv_cache_type, tokens_per_block }: BuildSettings,
  computeDtype: FloatDtype,
  headDim: number,
): string | undefined {
  if (computeDtype === "float32") return "the kernels are for half precision; float32 runs as standard operators";
  const block = kv_cache_type === "paged" ? tokens_per_block : undefined;
  if (option !== "gpt_attention_plugin" || hasAttentionKernel(computeDtype, headDim, block)) return undefined;
  return `there are kernels for heads of ${HEAD_DIMS.join(", ")} channels and blocks of 16 tokens and more, not for ${headDim}${block === undefined ? "" : ` in blocks of ${block}`}`;
}

function brings(
  { ops, adapters }: PluginLibrary,
  caller: PluginLibrary["adapters"][number],
  { name, version }: FusedOp,
): boolean {
  return adapters.includes(caller) && ops.includes(`${name}/${version}`);
}

/** How many nodes of each operation a plugin may take. */
export function pluginNodes({ nodes }: Graph): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { op, attributes } of nodes)
    if (attributes.plugin_namespace !== undefined) counts[op] = (counts[op] ?? 0) + 1;
  return counts;
}

/** Whether an engine with these nodes calls the library; nobody knows of a library that is not mmtrt's. */
export function usesLibrary({ abi, ops }: PluginLibrary, nodes: Readonly<Record<string, number>>): boolean {
  return abi === null || ops.some(op => (nodes[op.split("/", 1)[0] as string] ?? 0) > 0);
}

/** Attention of a static or paged cache writes into the cache that it is given. */
export function updatesInPlace({ kv_cache_type }: BuildSettings, nodes: Readonly<Record<string, number>>): boolean {
  return kv_cache_type !== "continuous" && (nodes[GPT_ATTENTION.name] ?? 0) > 0;
}
