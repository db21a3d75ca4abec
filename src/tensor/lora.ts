/** TensorRT-LLM's names of the linear layers that adapters may change. */
export const LORA_MODULES = [
  "attn_qkv",
  "attn_q",
  "attn_k",
  "attn_v",
  "attn_dense",
  "mlp_h_to_4h",
  "mlp_4h_to_h",
  "mlp_gate",
] as const;

export type LoraModuleName = (typeof LORA_MODULES)[number];

/** A linear layer that every decoder layer has and adapters may change: y = x·Wᵀ + x·Aᵀ·Bᵀ, A [rank, in], B [out, rank]. */
export interface LoraModule {
  readonly name: LoraModuleName;
  /** The product of the checkpoint that it is, or is a part of: `attention.qkv`. */
  readonly product: string;
  /** Hugging Face's path, `{l}` being the layer: `model.layers.{l}.self_attn.q_proj`. */
  readonly hf: string;
  /** Of the whole model, whatever the ranks. */
  readonly in: number;
  readonly out: number;
  /** The base weight is stored [in, out] (GPT-2's Conv1D); A and B are as everywhere. */
  readonly conv1d: boolean;
  /** row: ranks share A's columns, B is whole · column: ranks share B's rows as `parts` say, A is whole. */
  readonly split: "row" | "column";
  /** B's rows: each part is dealt out by itself, in `units` that stay whole (heads). */
  readonly parts: readonly LoraPart[];
  /** Ranges of B's stored rows in the product's order, where they are stored in another (InternLM2's wqkv, Phi-3's gate_up_proj). */
  readonly rows?: readonly (readonly [number, number])[];
}

export interface LoraPart {
  readonly rows: number;
  readonly units: number;
}

/** What a graph has adapters for. */
export interface LoraGraph {
  /** Of the model. */
  readonly modules: readonly LoraModule[];
  /** Those of them that have inputs. */
  readonly targets: readonly LoraModuleName[];
}

/** Name of a graph's input; `layer` counts through all pipeline stages. */
export function loraInput(matrix: "A" | "B", layer: number, module: LoraModuleName): string {
  return `lora_${matrix}_layers.${layer}.${module}`;
}

/** Ranks of the plugin's adapters are multiples of it: a copy of 16 bytes holds 8 elements of a half type. */
export const LORA_RANK_STEP = 8;

/** Which adapter each item of the batch has; 0 is none. */
export const LORA_TASK_IDS = "lora_task_ids";

/** Rows of one part of B that tensor-parallel rank `r` of `tp` has, from the part's own first row. */
export function loraRows({ rows, units }: LoraPart, r: number, tp: number): readonly [number, number] {
  if (units >= tp) return [(r * rows) / tp, ((r + 1) * rows) / tp];
  // With fewer heads than ranks rank r has a copy of head ⌊r · heads / tp⌋.
  const unit = Math.floor((r * units) / tp);
  return [(unit * rows) / units, ((unit + 1) * rows) / units];
}

/** Length of A's rows, and number of B's, on one of `tp` ranks. */
export function loraSizes({ in: width, out, split, parts }: LoraModule, tp: number): { in: number; out: number } {
  if (split === "row") return { in: width / tp, out };
  const own = parts.map(part => loraRows(part, 0, tp)).reduce((sum, [start, end]) => sum + end - start, 0);
  return { in: width, out: own };
}
