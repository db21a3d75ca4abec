import { fail, type Problem } from "../../diagnostics/index.ts";
import {
  concatColumns,
  concatRows,
  type Dtype,
  fromStored,
  metaRotary,
  rowCount,
  type StoredTensor,
  sameShape,
  showShape,
  type TensorRecipe,
} from "../../tensor/index.ts";
import { asStored } from "./as-stored.ts";
import type { MetaConfig } from "./meta-params.ts";

type Shards = readonly ReadonlyMap<string, StoredTensor>[];

/** How the files hold a tensor: rows or columns of it each, or all of it each. */
type Join = "rows" | "columns" | "whole";

/** Meta's name → Hugging Face's name. Trap: w1 is the gate, w3 the up projection, w2 the way down. */
const NAMES: Readonly<Record<string, readonly [string, Join]>> = {
  tok_embeddings: ["model.embed_tokens", "columns"],
  norm: ["model.norm", "whole"],
  output: ["lm_head", "rows"],
};
/** The same in `layers.N.` → `model.layers.N.` */
const LAYER_NAMES: Readonly<Record<string, readonly [string, Join]>> = {
  "attention.wq": ["self_attn.q_proj", "rows"],
  "attention.wk": ["self_attn.k_proj", "rows"],
  "attention.wv": ["self_attn.v_proj", "rows"],
  "attention.wo": ["self_attn.o_proj", "columns"],
  "feed_forward.w1": ["mlp.gate_proj", "rows"],
  "feed_forward.w2": ["mlp.down_proj", "columns"],
  "feed_forward.w3": ["mlp.up_proj", "rows"],
  attention_norm: ["input_layernorm", "whole"],
  ffn_norm: ["post_attention_layernorm", "whole"],
};
/** Tables of rotary frequencies, which follow from rope_theta. */
const DERIVED = /(^|\.)rope\.freqs$/;

export interface JoinedMeta {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Rows of the output projection. */
  readonly vocabSize: number;
  readonly dtype: Dtype;
}

/** The slices of all files put together under Hugging Face names. Errors: CKP056. */
export function joinMetaShards(dir: string, shards: Shards, config: MetaConfig): JoinedMeta {
  const tensors = new Map<string, StoredTensor>();
  for (const [metaName, first] of shards[0] ?? []) {
    if (DERIVED.test(metaName)) continue;
    const slices = shards.map((shard, i) => slice(dir, shard, metaName, first, i));
    const { name, join } = nameOf(metaName);
    const joined = joinSlices(slices, join, config);
    tensors.set(
      name,
      asStored(name, /\.w[qk]\.weight$/.test(metaName) ? rotated(dir, joined, config) : joined, first.at),
    );
  }
  const output = tensors.get("lm_head.weight") ?? fail(misfit(dir, "output.weight is missing", "consolidated.00.pth"));
  return { tensors, vocabSize: rowCount(output.shape), dtype: output.dtype };
}

/** A name that is not known stays as it is, so that the coverage check of `convert` reports it. */
function nameOf(metaName: string): { readonly name: string; readonly join: Join } {
  const [, layer, part = ""] = /^(?:layers\.(\d+)\.)?([\w.]+)\.weight$/.exec(metaName) ?? [];
  const found = layer === undefined ? NAMES[part] : LAYER_NAMES[part];
  if (found === undefined) return { name: metaName, join: "whole" };
  const prefix = layer === undefined ? "" : `model.layers.${layer}.`;
  return { name: `${prefix}${found[0]}.weight`, join: found[1] };
}

function slice(dir: string, shard: Shards[number], name: string, first: StoredTensor, index: number): TensorRecipe {
  const stored = shard.get(name);
  const file = `consolidated.${String(index).padStart(2, "0")}.pth`;
  if (stored === undefined) return fail(misfit(dir, `${name} is in consolidated.00.pth and not in ${file}`, file));
  if (stored.dtype !== first.dtype || !sameShape(stored.shape, first.shape)) {
    fail(
      misfit(
        dir,
        `${name} is ${stored.dtype} ${showShape(stored.shape)} in ${file} and ${first.dtype} ${showShape(first.shape)} in consolidated.00.pth`,
        file,
      ),
    );
  }
  return fromStored(stored);
}

function joinSlices(slices: readonly TensorRecipe[], join: Join, config: MetaConfig): TensorRecipe {
  const first = slices[0] as TensorRecipe;
  if (slices.length === 1 || join === "whole" || first.shape.length !== 2) return first;
  // Embeddings are cut by columns up to LLaMA 2 and by rows since LLaMA 3: whole columns mean cut rows.
  if (join === "rows" || (first.name === "tok_embeddings.weight" && first.shape[1] === config.hidden_size))
    return concatRows(slices);
  return concatColumns(slices);
}

function rotated(dir: string, joined: TensorRecipe, config: MetaConfig): TensorRecipe {
  const headDim = config.hidden_size / config.num_attention_heads;
  if (Number.isInteger(headDim / 2) && rowCount(joined.shape) % headDim === 0) return metaRotary(joined, headDim);
  return fail(
    misfit(dir, `${joined.name} has ${rowCount(joined.shape)} rows, not whole heads of ${headDim}`, "params.json"),
  );
}

function misfit(dir: string, message: string, file: string): Problem {
  return {
    code: "CKP056",
    what: `Meta's files do not fit together: ${message}`,
    at: `${dir}/${file}`,
    why: "each consolidated.NN.pth holds one slice of every tensor, and params.json gives the sizes of the whole",
    fix: "download params.json and all consolidated.NN.pth files of one model again",
  };
}
