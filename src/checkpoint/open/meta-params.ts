import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { Json, JsonObject } from "../../formats/json.ts";

/** config.json as params.json implies it; vocab_size is absent where params.json leaves it to the tokenizer. */
export interface MetaConfig extends Readonly<Record<string, unknown>> {
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly vocab_size?: number;
}

/** Training and serving limits that do not change the weights' meaning. */
const IGNORED = [
  "max_seq_len",
  "max_batch_size",
  "hidden_dim",
  "multiple_of",
  "ffn_dim_multiplier",
  "vocab_size",
  "model_parallel_size",
];

/** Errors: CKP022, all at once. */
export function readMetaParams(file: string, params: JsonObject): MetaConfig {
  const reader = new ParamsReader(file, params, IGNORED);
  const hidden = reader.count("dim");
  const heads = reader.count("n_heads");
  const scaling = readScaling(reader);
  const vocabSize = reader.optional("vocab_size");
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: hidden,
    intermediate_size: intermediateSize(reader, hidden),
    num_hidden_layers: reader.count("n_layers"),
    num_attention_heads: heads,
    num_key_value_heads: reader.count("n_kv_heads", heads),
    // Meta's files say nothing about the trained length; 2048 is what TensorRT-LLM's converter writes.
    max_position_embeddings: 2048,
    rms_norm_eps: reader.number("norm_eps", 1e-5),
    rope_theta: reader.number("rope_theta", 10000),
    ...(scaling && { rope_scaling: scaling }),
    ...(vocabSize !== undefined && vocabSize > 0 && { vocab_size: vocabSize }),
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: false,
  };
  throwIfAny(reader.finish());
  return config;
}

/** hidden_dim, or multiple_of · ⌈⌊⌊4 · dim · 2/3⌋ · ffn_dim_multiplier⌋ / multiple_of⌉, as Meta's code computes it. */
function intermediateSize(reader: ParamsReader, dim: number): number {
  const given = reader.optional("hidden_dim");
  if (given !== undefined) return reader.count("hidden_dim");
  const multiple = reader.count("multiple_of", 1);
  const size = Math.floor(Math.floor((4 * dim * 2) / 3) * (reader.optional("ffn_dim_multiplier") ?? 1));
  return multiple * Math.ceil(size / multiple);
}

/** LLaMA 3.1 and later: the constants are in Meta's code, not in the file. */
function readScaling(reader: ParamsReader): object | undefined {
  if (!reader.flag("use_scaled_rope")) return undefined;
  return {
    rope_type: "llama3",
    factor: reader.number("rope_scaling_factor", 8),
    low_freq_factor: 1,
    high_freq_factor: reader.number("high_freq_factor", 4),
    original_max_position_embeddings: 8192,
  };
}

class ParamsReader {
  readonly #file: string;
  readonly #params: JsonObject;
  readonly #read: Set<string>;
  readonly #problems: Problem[] = [];

  constructor(file: string, params: JsonObject, ignored: readonly string[]) {
    this.#file = file;
    this.#params = params;
    this.#read = new Set(ignored);
  }

  count(key: string, fallback?: number): number {
    return this.#fitting(
      key,
      this.#get(key) ?? fallback,
      "a whole number from 1 on",
      v => Number.isSafeInteger(v) && v > 0,
    );
  }

  number(key: string, fallback: number): number {
    return this.#fitting(key, this.#get(key) ?? fallback, "a positive number", v => v > 0);
  }

  /** A number, or undefined when absent, null or -1 ("not set"). */
  optional(key: string): number | undefined {
    const value = this.#get(key);
    if (value === undefined || value === null || value === -1) return undefined;
    return this.#fitting(key, value, "a positive number", v => v > 0);
  }

  flag(key: string): boolean {
    const value = this.#get(key) ?? false;
    if (typeof value === "boolean") return value;
    this.#problem(`${key} is ${JSON.stringify(value)}; expected true or false`);
    return false;
  }

  /** Every problem, keys that nobody read included. */
  finish(): readonly Problem[] {
    for (const key of Object.keys(this.#params)) {
      if (!this.#read.has(key)) this.#problem(`${key.slice(0, 200)} is a key this version does not know`);
    }
    return this.#problems;
  }

  #get(key: string): Json | undefined {
    this.#read.add(key);
    return this.#params[key];
  }

  #fitting(key: string, value: Json | undefined, expected: string, fits: (value: number) => boolean): number {
    if (typeof value === "number" && Number.isFinite(value) && fits(value)) return value;
    this.#problem(
      value === undefined
        ? `${key} is missing; expected ${expected}`
        : `${key} is ${JSON.stringify(value)}; expected ${expected}`,
    );
    return 1;
  }

  #problem(what: string): void {
    this.#problems.push({
      code: "CKP022",
      what,
      at: this.#file,
      why: "sizes and numbers of the model follow from params.json, and a wrong model must not look right",
      fix: "use params.json as Meta published it, or a Hugging Face directory",
    });
  }
}
