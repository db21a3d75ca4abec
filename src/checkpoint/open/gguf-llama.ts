import { fail, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { Gguf } from "../../formats/gguf.ts";
import { fromStored, metaRotary, rowCount, type StoredTensor } from "../../tensor/index.ts";
import { asStored } from "./as-stored.ts";
import { GgufKeys } from "./gguf-keys.ts";
import { llama3Scaling, ROPE_FREQS, type RopeScaling } from "./gguf-rope-freqs.ts";

export interface LlamaFromGguf {
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** GGUF name → Hugging Face name. */
const NAMES: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};
/** The same in `blk.N.` → `model.layers.N.` */
const BLOCK_NAMES: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** Sizes under their config.json names. */
export interface LlamaSizes {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
}

/** Errors: CKP016 missing keys or tensors, CKP018 keys or values whose effect is not computed. */
export async function readGgufLlama(gguf: Gguf): Promise<LlamaFromGguf> {
  const keys = new GgufKeys(gguf, "llama.");
  const sizes = readSizes(keys);
  const scaling = readScaling(keys) ?? (await llama3Scaling(gguf, sizes.head_dim, sizes.rope_theta));
  refuseExperts(keys);
  // What the writer noted about itself; the number of tokens is that of the embedding's rows.
  keys.ignore("vocab_size", "tensor_data_layout");
  throwIfAny(keys.finish());
  const config = { ...sizes, ...(scaling && { rope_scaling: scaling }), ...readRest(gguf) };
  return { config, tensors: renamed(gguf, sizes.head_dim) };
}

function readSizes(keys: GgufKeys): LlamaSizes {
  const heads = keys.count("attention.head_count");
  const hidden = keys.count("embedding_length");
  const headDim = keys.count("attention.key_length", Math.floor(hidden / heads) || 1);
  if (headDim % 2 !== 0) keys.unsupported("attention.key_length", "an even number, since rotary positions turn pairs");
  for (const key of ["attention.value_length", "rope.dimension_count"]) {
    if (keys.count(key, headDim) !== headDim) keys.unsupported(key, `${headDim}, the key length`);
  }
  return {
    hidden_size: hidden,
    intermediate_size: keys.count("feed_forward_length"),
    num_hidden_layers: keys.count("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: keys.count("attention.head_count_kv", heads),
    head_dim: headDim,
    max_position_embeddings: keys.count("context_length"),
    rms_norm_eps: keys.number("attention.layer_norm_rms_epsilon"),
    rope_theta: keys.number("rope.freq_base", 10000),
  };
}

function readScaling(keys: GgufKeys): RopeScaling | undefined {
  keys.ignore(
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scaling.factor",
    "rope.scale_linear",
  );
  const type = keys.text("rope.scaling.type", keys.has("rope.scale_linear") ? "linear" : "none");
  if (type === "none") return undefined;
  if (type !== "linear") keys.unsupported("rope.scaling.type", "none, linear");
  const factor = keys.number(keys.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear");
  return factor === 1 ? undefined : { rope_type: "linear", factor };
}

function refuseExperts(keys: GgufKeys): void {
  for (const key of ["expert_count", "expert_used_count"]) {
    if (keys.has(key) && keys.number(key) !== 0) keys.unsupported(key, "0: layers of experts are not read");
  }
}

function readRest(gguf: Gguf): Record<string, unknown> {
  const id = (key: string): number | undefined => {
    const value = gguf.metadata.get(`tokenizer.ggml.${key}_token_id`);
    return typeof value === "number" ? value : undefined;
  };
  const [bos, eos, eot, pad] = [id("bos"), id("eos"), id("eot"), id("padding")];
  // Chat models end a turn with a token of its own; generation must stop at either.
  const ends = [...new Set([eos, eot].filter(end => end !== undefined))];
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: rowCount(required(gguf, "token_embd.weight").shape),
    hidden_act: "silu",
    attention_bias: gguf.tensors.has("blk.0.attn_q.bias"),
    mlp_bias: gguf.tensors.has("blk.0.ffn_up.bias"),
    tie_word_embeddings: !gguf.tensors.has("output.weight"),
    torch_dtype: required(gguf, "blk.0.attn_q.weight").dtype,
    ...(bos !== undefined && { bos_token_id: bos }),
    ...(ends.length > 0 && { eos_token_id: ends.length === 1 ? ends[0] : ends }),
    ...(pad !== undefined && { pad_token_id: pad }),
  };
}

function required(gguf: Gguf, name: string): StoredTensor {
  return gguf.tensors.get(name) ?? fail(badTensor(gguf, name, "is missing"));
}

/** Under Hugging Face names; a name that is not known stays as it is, so that the coverage check of `convert` reports it. */
function renamed(gguf: Gguf, headDim: number): ReadonlyMap<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const [ggufName, stored] of gguf.tensors) {
    if (ggufName === ROPE_FREQS) continue;
    const name = nameOf(ggufName) ?? ggufName;
    const rotary = /^blk\.\d+\.attn_[qk]\./.test(ggufName);
    if (rotary && rowCount(stored.shape) % headDim !== 0) {
      fail(badTensor(gguf, ggufName, `has ${rowCount(stored.shape)} rows, not whole heads of ${headDim}`));
    }
    // llama.cpp turns neighbouring rows of a head, as Meta's code does.
    tensors.set(
      name,
      rotary ? asStored(name, metaRotary(fromStored(stored), headDim), stored.at) : { ...stored, name },
    );
  }
  return tensors;
}

function nameOf(ggufName: string): string | undefined {
  const [, layer, part = "", kind = ""] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(ggufName) ?? [];
  const found = layer === undefined ? NAMES[part] : BLOCK_NAMES[part];
  if (found === undefined) return undefined;
  return layer === undefined ? `${found}.${kind}` : `model.layers.${layer}.${found}.${kind}`;
}

function badTensor(gguf: Gguf, name: string, message: string): Problem {
  return {
    code: "CKP016",
    what: `not a usable GGUF file: tensor ${name.slice(0, 200)} ${message}`,
    at: gguf.path,
    why: "a LLaMA model has this tensor in this shape",
    fix: "download the file again, or convert the original Hugging Face checkpoint",
  };
}
