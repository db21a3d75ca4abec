import { type PluginLibrary, readPluginLibrary } from "../formats/plugin-library.ts";
import type { Graph } from "../graph/graph.ts";
import { ALL_REDUCE, MOST_RANKS } from "../layers/fused/all-reduce.ts";
import { BERT_ATTENTION } from "../layers/fused/bert-attention.ts";
import { FP8_MATMUL } from "../layers/fused/fp8-matmul.ts";
import { FUSED_GATED_MLP } from "../layers/fused/fused-gated-mlp.ts";
import { GEMM } from "../layers/fused/gemm.ts";
import { GPT_ATTENTION, HEAD_DIMS, hasAttentionKernel } from "../layers/fused/gpt-attention.ts";
import { LAYER_NORM } from "../layers/fused/layer-norm.ts";
import { LORA } from "../layers/fused/lora.ts";
import type { FusedOp } from "../layers/fused/op.ts";
import { PROMPT_TUNING_EMBEDDING } from "../layers/fused/prompt-tuning-embedding.ts";
import { RMS_NORM } from "../layers/fused/rms-norm.ts";
import { SMOOTH_QUANT_MATMUL } from "../layers/fused/smooth-quant-matmul.ts";
import { WEIGHT_ONLY_MATMUL } from "../layers/fused/weight-only-matmul.ts";
import type { BuildSettings } from "../rules/rule.ts";
import { type FloatDtype, LORA_RANK_STEP } from "../tensor/index.ts";
import type { Adjustment } from "./settings.ts";

type PluginOption = Extract<keyof BuildSettings, `${string}_plugin`> | "use_fused_mlp";

/** An operation, the option that speaks for it, and what its nodes need besides a kernel. */
interface Choice {
  readonly option: PluginOption;
  readonly op: FusedOp;
  /** The option's word for this operation alone, instead of a dtype. */
  readonly word?: "fp8";
  /** Why TensorRT's parser gets no nodes that no library takes. */
  readonly bodyless?: string;
}

// The layer of a DequantizeLinear keeps the name that the body gives it, and a second layer of that name is refused.
const ONE_DEQUANTIZE = "and TensorRT's parser takes its body once a graph";

const CHOICES: readonly Choice[] = [
  { option: "gpt_attention_plugin", op: GPT_ATTENTION },
  { option: "bert_attention_plugin", op: BERT_ATTENTION },
  { option: "weight_only_quant_matmul_plugin", op: WEIGHT_ONLY_MATMUL, bodyless: ONE_DEQUANTIZE },
  { option: "smooth_quant_gemm_plugin", op: SMOOTH_QUANT_MATMUL, bodyless: ONE_DEQUANTIZE },
  { option: "gemm_plugin", op: GEMM, bodyless: "and TensorRT's own kernels are used" },
  { option: "gemm_plugin", op: FP8_MATMUL, word: "fp8", bodyless: ONE_DEQUANTIZE },
  { option: "use_fused_mlp", op: FUSED_GATED_MLP, bodyless: "and TensorRT joins the two products itself" },
  { option: "rmsnorm_plugin", op: RMS_NORM },
  { option: "layernorm_plugin", op: LAYER_NORM },
  { option: "lookup_plugin", op: PROMPT_TUNING_EMBEDDING },
  { option: "lora_plugin", op: LORA },
  { option: "nccl_plugin", op: ALL_REDUCE, bodyless: "and ranks add by the operator DistCollective" },
];

/** The option of `build` that speaks for an operation. */
export function optionOf(name: string): string | undefined {
  return CHOICES.find(({ op }) => op.name === name)?.option;
}

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
  readonly tpSize: number;
  /** Highest rank of an adapter; undefined for an engine that takes none. */
  readonly maxLoraRank: number | undefined;
  readonly libraries: readonly PluginLibrary[];
}

/**
 * auto: nodes for what a library brings to the backend · a dtype: nodes in any case, whose standard bodies run where no library
 * has them · disable: none. What has no kernel is never a node.
 */
export function choosePlugins(build: BuildSettings, facts: PluginFacts): ChosenPlugins {
  const chosen = CHOICES.map(choice => choose(choice, build, facts));
  return {
    ops: chosen.flatMap(({ op }) => op ?? []),
    adjustments: chosen.flatMap(({ adjustment }) => adjustment ?? []),
  };
}

/** Whether ranks add by a plugin, which any TensorRT can call. */
export function reducesByPlugin(
  build: Pick<BuildSettings, "backend" | "nccl_plugin">,
  tpSize: number,
  libraries: readonly PluginLibrary[],
): boolean {
  if (build.backend === "onnxruntime") return false;
  return build.nccl_plugin !== "disable" && tpSize <= MOST_RANKS && bringsTo(build, libraries, ALL_REDUCE);
}

function choose(
  choice: Choice,
  build: BuildSettings,
  facts: PluginFacts,
): { readonly op?: string; readonly adjustment?: Adjustment } {
  const { option, op, bodyless } = choice;
  const from = build[option];
  if (!concerns(choice, from, facts)) return {};
  const asked = from !== "auto";
  const hasLibrary = bringsTo(build, facts.libraries, op);
  const off = option === "use_fused_mlp" ? false : "disable";
  const without = (why: string) => ({ adjustment: { option, from, to: off, why } });
  const lacking = withoutKernel(choice, build, facts);
  if (lacking !== undefined) return asked || hasLibrary ? without(lacking) : {};
  if (hasLibrary) return { op: op.name };
  const missing = `no library of --plugins has ${op.name}`;
  if (asked && bodyless !== undefined && build.backend !== "onnxruntime") return without(`${missing}, ${bodyless}`);
  if (asked) {
    const why = `${missing}, so its nodes run as the standard operators of their bodies`;
    return {
      op: op.name,
      adjustment: { option, from, to: from === true ? true : (choice.word ?? facts.computeDtype), why },
    };
  }
  const copies = option === "gpt_attention_plugin" && build.kv_cache_type === "paged";
  return copies && build.backend !== "onnxruntime"
    ? without(`${missing}, and standard operators copy the whole pool of a paged cache at every step`)
    : {};
}

/** Whether the option's value speaks for this operation, and the engine could have any of it. */
function concerns({ op, word }: Choice, value: BuildSettings[PluginOption], facts: PluginFacts): boolean {
  if (value === "disable" || value === false) return false;
  if (op === LORA && facts.maxLoraRank === undefined) return false;
  if (op === ALL_REDUCE && facts.tpSize === 1) return false;
  return value === "auto" || (word === undefined ? value !== "fp8" : value === word);
}

function withoutKernel(
  { option, op }: Choice,
  { backend, kv_cache_type, tokens_per_block }: BuildSettings,
  { computeDtype, headDim, tpSize, maxLoraRank = 0 }: PluginFacts,
): string | undefined {
  if (op === ALL_REDUCE) {
    if (backend === "onnxruntime") return "ONNX Runtime's ranks are run by mmtrt, which adds for them";
    return tpSize > MOST_RANKS ? `its groups have at most ${MOST_RANKS} ranks, not ${tpSize}` : undefined;
  }
  if (computeDtype === "float32") return "the kernels are for half precision; float32 runs as standard operators";
  if (op === LORA && maxLoraRank % LORA_RANK_STEP !== 0)
    return `its kernel takes ranks of whole ${LORA_RANK_STEP}s, and max_lora_rank ${maxLoraRank} is none`;
  const block = kv_cache_type === "paged" ? tokens_per_block : undefined;
  if (option !== "gpt_attention_plugin" || hasAttentionKernel(computeDtype, headDim, block)) return undefined;
  return `there are kernels for heads of ${HEAD_DIMS.join(", ")} channels and blocks of 16 tokens and more, not for ${headDim}${block === undefined ? "" : ` in blocks of ${block}`}`;
}

function bringsTo(
  { backend }: Pick<BuildSettings, "backend">,
  libraries: readonly PluginLibrary[],
  { name, version }: FusedOp,
): boolean {
  const caller = backend === "onnxruntime" ? "onnxruntime" : "tensorrt";
  return libraries.some(({ ops, adapters }) => adapters.includes(caller) && ops.includes(`${name}/${version}`));
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
