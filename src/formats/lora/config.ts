import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { isJsonObject, type Json, type JsonObject, readJsonObject } from "../json.ts";

/** adapter_config.json of PEFT, as far as it says what the tensors mean. */
export interface AdapterConfig {
  readonly file: string;
  readonly r: number;
  readonly alpha: number;
  /** alpha / √r in place of alpha / r. */
  readonly rslora: boolean;
  /** By pattern over module paths, the first that fits. */
  readonly rankPattern: ReadonlyMap<string, number>;
  readonly alphaPattern: ReadonlyMap<string, number>;
  /** A pattern over whole paths, or names that paths end in. */
  readonly targetModules: string | readonly string[];
  readonly excludeModules: string | readonly string[];
  readonly layersToTransform: readonly number[] | undefined;
  readonly layersPattern: readonly string[];
  readonly modulesToSave: readonly string[];
  /** Biases of the base model were trained too. */
  readonly bias: "none" | "all" | "lora_only";
}

/** The largest published adapters have rank 512. */
const MAX_RANK = 1 << 16;
const MAX_LISTED = 100_000;
/** Patterns that people write have some hundred characters. */
const MAX_PATTERN = 20_000;

/** Keys that say how the adapter was trained, or where from. */
const TRAINING = [
  "task_type",
  "auto_mapping",
  "peft_version",
  "base_model_name_or_path",
  "revision",
  "inference_mode",
  "lora_dropout",
  "megatron_core",
  "loftq_config",
  "eva_config",
  "corda_config",
  "lora_ga_config",
  "runtime_config",
  "qalora_group_size",
  // PEFT transposes what it adds to a Conv1D whatever this says; which layers are, the base model tells.
  "fan_in_fan_out",
  "ensure_weight_tying",
];

/** Forms of adapters that two thin matrices are not; each key must be off. */
const OTHER_FORMS: Readonly<Record<string, string>> = {
  use_dora:
    "DoRA scales each row of the sum of base weight and adapter by its own length, so the base weight changes too",
  use_qalora: "QA-LoRA averages its inputs over the groups of a quantized base weight",
  lora_bias: "a bias of lora_B would be one more input for each layer, which TensorRT-LLM's adapters have not",
  alora_invocation_tokens: "an activated adapter works from a certain token on, and not for the tokens before it",
  layer_replication: "layers that are used several times make another base model than the one converted",
  target_parameters: "parameters of mixtures of experts are adapted, which are no linear layers of a decoder layer",
  trainable_token_indices: "single rows of the embedding table were trained, and the batch has one table",
  megatron_config: "Megatron's parallel layers have weights of another layout",
  velora_config: "VeLoRA changes more than two thin matrices",
  monteclora_config: "MonteCLoRA samples its matrices at run time",
  use_bdlora: "BD-LoRA's matrices are block-diagonal, stored in another shape",
  arrow_config: "Arrow mixes several adapters token by token",
  kasa_config: "KaSA has singular values beside the two matrices",
};

/** Initial values that leave the base weights as they are. */
const PLAIN_STARTS: readonly Json[] = [true, false, "gaussian", "eva", "orthogonal", "mica"];

/** Errors: LRA002 for keys that are unusable, LRA003 another form of adapter, LRA004 changed base weights, CKP001–CKP008. */
export async function readAdapterConfig(file: string): Promise<AdapterConfig> {
  return adapterConfig(await readJsonObject(file, { maxBytes: 16 << 20 }), file);
}

function adapterConfig(json: JsonObject, file: string): AdapterConfig {
  const reader = new Reader(json, file);
  const type = json.peft_type ?? "LORA";
  if (type !== "LORA")
    reader.problem(
      "LRA003",
      "peft_type",
      `is ${show(type)}; expected "LORA"`,
      "other methods add other things than two thin matrices to a layer",
      "train a LoRA adapter",
    );
  for (const [key, why] of Object.entries(OTHER_FORMS)) {
    if (isOff(json[key])) continue;
    reader.problem(
      "LRA003",
      key,
      `is ${show(json[key])}; expected it to be off`,
      why,
      "merge the adapter with PEFT (merge_and_unload) and convert the result, or train without it",
    );
  }
  reader.start(json.init_lora_weights ?? true);
  const modules = json.target_modules;
  const config: AdapterConfig = {
    file,
    r: reader.integer("r", 8, 1, MAX_RANK),
    alpha: reader.number("lora_alpha", 8),
    rslora: reader.boolean("use_rslora"),
    rankPattern: reader.pattern("rank_pattern", value => Number.isInteger(value) && value >= 1 && value <= MAX_RANK),
    alphaPattern: reader.pattern("alpha_pattern", Number.isFinite),
    targetModules:
      typeof modules === "string" ? reader.text("target_modules", modules) : reader.texts("target_modules"),
    excludeModules:
      typeof json.exclude_modules === "string"
        ? reader.text("exclude_modules", json.exclude_modules)
        : reader.texts("exclude_modules"),
    layersToTransform: reader.layers(),
    layersPattern:
      typeof json.layers_pattern === "string"
        ? [reader.text("layers_pattern", json.layers_pattern)]
        : reader.texts("layers_pattern"),
    modulesToSave: reader.texts("modules_to_save"),
    bias: reader.bias(),
  };
  reader.finish([...TRAINING, "peft_type", ...Object.keys(OTHER_FORMS)]);
  return config;
}

class Reader {
  readonly #json: JsonObject;
  readonly #file: string;
  readonly #problems: Problem[] = [];
  readonly #read = new Set<string>();

  constructor(json: JsonObject, file: string) {
    this.#json = json;
    this.#file = file;
  }

  problem(code: Problem["code"], key: string, seen: string, why: string, fix: string): void {
    this.#problems.push({ code, what: `${key} ${seen}`, at: `${this.#file}: ${key}`, why, fix });
  }

  integer(key: string, fallback: number, least: number, most: number): number {
    const value = this.#take(key) ?? fallback;
    if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return value as number;
    this.#wrong(key, value, `a whole number from ${least} to ${most}`);
    return fallback;
  }

  number(key: string, fallback: number): number {
    const value = this.#take(key) ?? fallback;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    this.#wrong(key, value, "a number");
    return fallback;
  }

  boolean(key: string): boolean {
    const value = this.#take(key) ?? false;
    if (typeof value !== "boolean") this.#wrong(key, value, "true or false");
    return value === true;
  }

  text(key: string, value: string): string {
    this.#take(key);
    if (value.length > MAX_PATTERN) this.#wrong(key, value.slice(0, 40), `at most ${MAX_PATTERN} characters`);
    return value.slice(0, MAX_PATTERN);
  }

  texts(key: string): readonly string[] {
    const value = this.#take(key) ?? [];
    const isName = (item: Json): item is string =>
      typeof item === "string" && item !== "" && item.length <= MAX_PATTERN;
    if (Array.isArray(value) && value.length <= MAX_LISTED && value.every(isName)) return value as readonly string[];
    this.#wrong(key, value, "a list of names");
    return [];
  }

  pattern(key: string, fits: (value: number) => boolean): ReadonlyMap<string, number> {
    const value = this.#take(key) ?? {};
    const isMap = isJsonObject(value) && Object.keys(value).length <= MAX_LISTED;
    const entries = isMap ? Object.entries(value) : [];
    const isEntry = ([name, one]: readonly [string, Json]): boolean =>
      name.length <= MAX_PATTERN && typeof one === "number" && fits(one);
    if (isMap && entries.every(isEntry)) return new Map(entries as [string, number][]);
    this.#wrong(key, value, "a number for each pattern");
    return new Map();
  }

  layers(): readonly number[] | undefined {
    const value = this.#take("layers_to_transform") ?? [];
    const list = typeof value === "number" ? [value] : value;
    const isLayer = (item: Json): boolean => Number.isInteger(item) && (item as number) >= 0;
    if (Array.isArray(list) && list.length <= MAX_LISTED && list.every(isLayer))
      return list.length === 0 ? undefined : (list as number[]);
    this.#wrong("layers_to_transform", value, "a layer or a list of layers");
    return undefined;
  }

  bias(): AdapterConfig["bias"] {
    const value = this.#take("bias") ?? "none";
    if (value === "all" || value === "lora_only" || value === "none") return value;
    this.#wrong("bias", value, '"none", "all" or "lora_only"');
    return "none";
  }

  start(value: Json): void {
    this.#read.add("init_lora_weights");
    if (PLAIN_STARTS.includes(value)) return;
    this.problem(
      "LRA004",
      "init_lora_weights",
      `is ${show(value)}; expected true, false, "gaussian", "eva" or "orthogonal"`,
      "with this start PEFT takes a part out of the base weights before training, so the adapter fits those and not the published ones",
      "save it with path_initial_model_for_weight_conversion, which turns it into a plain adapter of the published weights",
    );
  }

  /** A key that nobody knows and that is on may change what the matrices mean. */
  finish(known: readonly string[]): void {
    for (const [key, value] of Object.entries(this.#json)) {
      if (this.#read.has(key) || known.includes(key) || isOff(value)) continue;
      this.problem(
        "LRA002",
        key,
        `is ${show(value)}, and is not known`,
        "a switch of a newer PEFT may change what the two matrices mean",
        "remove it if it has no effect on the adapter's weights",
      );
    }
    throwIfAny(this.#problems);
  }

  #take(key: string): Json | undefined {
    this.#read.add(key);
    return this.#json[key] ?? undefined;
  }

  #wrong(key: string, value: Json, expected: string): void {
    this.problem(
      "LRA002",
      key,
      `is ${show(value)}; expected ${expected}`,
      "it says which layers the adapter changes and by how much",
      "correct it, or save the adapter again with PEFT",
    );
  }
}

/** As PEFT writes a feature that is not used. */
function isOff(value: Json | undefined): boolean {
  if (value === undefined || value === null || value === false) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

function show(value: Json | undefined): string {
  const text = JSON.stringify(value ?? null);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
