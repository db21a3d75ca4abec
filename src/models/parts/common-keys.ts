import type { ConfigReader } from "../config-reader.ts";
import type { ModelSpec } from "../spec.ts";
import { readPackedScheme } from "./quantization-config.ts";

/**
 * Keys of transformers' base class, which old versions wrote out in full for nested configs. They steer training,
 * generation defaults or bookkeeping; none changes what a forward pass computes.
 */
const WITHOUT_EFFECT = [
  "architectures",
  "attention_dropout",
  "auto_map",
  "bad_words_ids",
  "begin_suppress_tokens",
  "cache_implementation",
  "chunk_size_feed_forward",
  "decoder_start_token_id",
  "diversity_penalty",
  "do_sample",
  "early_stopping",
  "encoder_no_repeat_ngram_size",
  "exponential_decay_length_penalty",
  "finetuning_task",
  "forced_bos_token_id",
  "forced_eos_token_id",
  "gradient_checkpointing",
  "id2label",
  "initializer_factor",
  "initializer_range",
  "is_composition",
  "label2id",
  "length_penalty",
  "max_length",
  "min_length",
  "model_type",
  "no_repeat_ngram_size",
  "num_beam_groups",
  "num_beams",
  "num_return_sequences",
  "output_attentions",
  "output_hidden_states",
  "output_scores",
  "prefix",
  "problem_type",
  "remove_invalid_values",
  "repetition_penalty",
  "return_dict",
  "return_dict_in_generate",
  "sep_token_id",
  "suppress_tokens",
  "task_specific_params",
  "temperature",
  "tf_legacy_loss",
  "tokenizer_class",
  "top_k",
  "top_p",
  "torch_dtype",
  "dtype",
  "torchscript",
  "transformers_version",
  "typical_p",
  "use_bfloat16",
  "use_cache",
  "attn_implementation",
] as const;

/** Keys every config may have. The few that would change numbers are held to their harmless value. */
export function readCommonKeys(c: ConfigReader): void {
  readSharedKeys(c);
  c.only(
    "add_cross_attention",
    [false],
    "the decoder would attend to an encoder that a decoder-only engine does not have",
  );
  c.only(
    "cross_attention_hidden_size",
    [null],
    "the decoder would attend to an encoder that a decoder-only engine does not have",
  );
  c.only("is_decoder", [false, true], "a language model is a decoder");
  c.only("is_encoder_decoder", [false], "the encoder would have to be built as an engine of its own");
}

/** The same for a config that describes an encoder and a decoder, or the decoder of a pair. */
export function readSharedKeys(c: ConfigReader): void {
  c.ignore(...WITHOUT_EFFECT);
  c.only("tie_encoder_decoder", [false], "the encoder's layers would be the decoder's");
  const pruned = c.raw("pruned_heads");
  if (pruned !== undefined && pruned !== null && JSON.stringify(pruned) !== "{}") {
    c.problem(
      "SPC004",
      "pruned_heads",
      "lists pruned attention heads",
      "the weights of a pruned layer have other shapes",
      "convert the model before pruning",
    );
  }
}

/** Refuses a `quantization_config` that nothing here decodes; what can be decoded is read again when tensors are mapped. */
export function refuseQuantized(c: ConfigReader): void {
  readPackedScheme(c);
}

/** Weight counts are products of these sizes; a damaged config must not make a loop of a billion layers. */
const LIMITS: Readonly<Record<string, number>> = {
  num_hidden_layers: 4096,
  depth: 1024,
  num_attention_heads: 65_536,
  num_key_value_heads: 65_536,
};
/** 2^26: 100 times the widest published layer and vocabulary. */
const MAX_SIZE = 67_108_864;

/** A size: a positive whole number no larger than anything a real model has. */
export function readSize(c: ConfigReader, key: string, fallback?: number): number {
  const value = c.integer(key, fallback);
  const limit = LIMITS[key] ?? MAX_SIZE;
  if (value <= limit) return value;
  c.problem(
    "SPC002",
    key,
    `is ${value}; expected at most ${limit}`,
    "no model is that large, so the file is damaged",
    `give ${key} as it was trained`,
  );
  return limit;
}

/** A whole number of channels for each attention head. */
export function checkHeads(
  c: ConfigReader,
  hiddenSize: number,
  heads: number,
  headsKey = "num_attention_heads",
  hiddenKey = "hidden_size",
): void {
  if (!c.sound || hiddenSize % heads === 0) return;
  c.problem(
    "SPC006",
    headsKey,
    `is ${heads}, which does not divide ${hiddenKey} ${hiddenSize}`,
    `each head holds ${hiddenKey} / ${headsKey} channels`,
    `give ${headsKey} as a divisor of ${hiddenKey}`,
  );
}

/** `layer_types` (transformers from 4.53): every layer must see all tokens before it. */
export function onlyFullAttention(c: ConfigReader): void {
  const types = c.raw("layer_types");
  if (types === undefined || types === null) return;
  if (Array.isArray(types) && types.every(type => type === "full_attention")) return;
  c.problem(
    "SPC004",
    "layer_types",
    'has layers of another type than "full_attention"',
    "layers with a window see only the last tokens, and the graph shows all of them",
    "convert a checkpoint whose layers all have full attention",
  );
}

const DTYPE_WORDS = ["float32", "float16", "bfloat16"] as const;

/** `dtype` (transformers 5) or `torch_dtype` (before); `auto` and absence say nothing. */
export function readDeclaredDtype(c: ConfigReader): ModelSpec["declaredDtype"] {
  const values = ["dtype", "torch_dtype"].filter(key => c.has(key)).map(key => ({ key, value: c.raw(key) }));
  const named = values.map(({ key, value }) => ({
    key,
    name: typeof value === "string" ? value.replace(/^torch\./, "") : value,
  }));
  const [first, second] = named.filter(({ name }) => name !== "auto");
  if (first !== undefined && second !== undefined && first.name !== second.name)
    conflict(c, first.key, first.name, second.key, second.name);
  if (first === undefined || first.name === "float64") return undefined;
  const known = DTYPE_WORDS.find(word => word === first.name);
  if (known === undefined)
    c.problem(
      "SPC002",
      first.key,
      `is ${JSON.stringify(first.name)}; expected one of ${DTYPE_WORDS.join(", ")}`,
      "it names the dtype the weights were saved in",
      `give ${first.key} as ${DTYPE_WORDS.join(", ")}`,
    );
  return known;
}

export function conflict(c: ConfigReader, key: string, value: unknown, other: string, otherValue: unknown): void {
  c.problem(
    "SPC005",
    key,
    `is ${JSON.stringify(value)}, but ${other} is ${JSON.stringify(otherValue)}`,
    "both spell the same fact, and only one of them can be right",
    `remove ${key} or ${other}`,
  );
}

/** Special token ids: one number, or for eos a list. */
export function readTokenIds(c: ConfigReader, key: string): number[] {
  const value = c.raw(key);
  if (value === undefined || value === null) return [];
  const ids = Array.isArray(value) ? value : [value];
  if (ids.length <= 1024 && ids.every(id => Number.isSafeInteger(id))) return (ids as number[]).filter(id => id >= 0);
  c.problem(
    "SPC002",
    key,
    "is not a token id or a list of token ids",
    "generation stops and pads by these ids",
    `give ${key} as a whole number`,
  );
  return [];
}

/** What a text-only model's config says besides its decoder: class, dtype, special tokens. */
export function readTextIdentity(
  c: ConfigReader,
  architecture: string,
  modelType: string,
): Omit<ModelSpec, "language"> {
  refuseQuantized(c);
  const [bos] = readTokenIds(c, "bos_token_id");
  const [pad] = readTokenIds(c, "pad_token_id");
  return {
    architecture,
    modelType,
    declaredDtype: readDeclaredDtype(c),
    ...(bos !== undefined && { bosTokenId: bos }),
    eosTokenIds: readTokenIds(c, "eos_token_id"),
    ...(pad !== undefined && { padTokenId: pad }),
  };
}
