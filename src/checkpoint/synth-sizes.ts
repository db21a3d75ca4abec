import { fail } from "../diagnostics/index.ts";
import type { Origin } from "./parallel-rules.ts";

export type Config = Readonly<Record<string, unknown>>;

/** What the sizes of one stack of layers are called in its config. A list (Swin's stages) is scaled item by item. */
interface SizeKeys {
  readonly layers: readonly string[];
  readonly heads: readonly string[];
  readonly kvHeads?: string;
  /** Width of the hidden states; the first is what --hidden_size means. */
  readonly hidden: readonly string[];
  readonly inner: readonly string[];
}

const VIT: SizeKeys = {
  layers: ["num_hidden_layers"],
  heads: ["num_attention_heads"],
  hidden: ["hidden_size"],
  inner: ["intermediate_size"],
};
const LLAMA: SizeKeys = { ...VIT, kvHeads: "num_key_value_heads" };
const BART: SizeKeys = {
  layers: ["encoder_layers", "decoder_layers"],
  heads: ["encoder_attention_heads", "decoder_attention_heads"],
  hidden: ["d_model"],
  inner: ["encoder_ffn_dim", "decoder_ffn_dim"],
};

/** By model_type. */
const KEYS: Readonly<Record<string, SizeKeys>> = {
  llama: LLAMA,
  llava_llama: LLAMA,
  mistral: LLAMA,
  qwen2: LLAMA,
  qwen3: LLAMA,
  gemma: LLAMA,
  gemma2: LLAMA,
  gemma3_text: LLAMA,
  internlm2: LLAMA,
  phi3: LLAMA,
  smollm3: LLAMA,
  qwen2_vl: LLAMA,
  qwen2_vl_text: LLAMA,
  qwen2_5_vl: LLAMA,
  qwen2_5_vl_text: LLAMA,
  qwen3_vl_text: LLAMA,
  opt: { ...VIT, hidden: ["hidden_size", "word_embed_proj_dim"], inner: ["ffn_dim"] },
  gpt2: { layers: ["n_layer"], heads: ["n_head"], hidden: ["n_embd"], inner: ["n_inner"] },
  t5: { layers: ["num_layers", "num_decoder_layers"], heads: ["num_heads"], hidden: ["d_model"], inner: ["d_ff"] },
  bart: BART,
  mbart: BART,
  clip_vision_model: VIT,
  siglip_vision_model: VIT,
  blip_2_vision_model: VIT,
  blip_2_qformer: VIT,
  "donut-swin": { layers: ["depths"], heads: ["num_heads"], hidden: ["embed_dim", "hidden_size"], inner: [] },
};

const PACKED: SizeKeys = {
  layers: ["depth"],
  heads: ["num_heads"],
  hidden: ["hidden_size"],
  inner: ["intermediate_size"],
};

/** Of encoders of packed patches, by the whole model's model_type: their own is not always there. Qwen2-VL's MLP is a multiple of its width. */
const PACKED_KEYS: Readonly<Record<string, SizeKeys>> = {
  qwen2_vl: { ...PACKED, hidden: ["embed_dim"], inner: [] },
  qwen2_5_vl: PACKED,
  qwen3_vl: PACKED,
};

/** Where a model's config keeps the language model's; absent: at its top. */
const LANGUAGE_PARTS = ["text_config", "llm_cfg", "decoder"];
const VISION_PARTS = ["vision_config", "vision_tower_cfg", "encoder"];

/** Options of `synth` that replace a size of the language model, in LLaMA's words. */
export type LanguageSizes = Readonly<Record<string, number | boolean | undefined>>;

/** The config with sizes of its language model replaced, under the names they have there. Errors: CKP064 it has no such size. */
export function withLanguageSizes(config: Config, sizes: LanguageSizes, origin: Origin): Config {
  const part = languagePart(config);
  const text = part === undefined ? config : (config[part] as Config);
  const keys = KEYS[String(text.model_type)] ?? LLAMA;
  const changed: Record<string, unknown> = {};
  for (const [size, value] of Object.entries(sizes)) {
    if (value === undefined) continue;
    const names = namesOf(size, keys, text);
    if (names.length === 0) noSuchSize(size, String(text.model_type), origin);
    for (const name of names) changed[name] = value;
  }
  return asWideAsText(withPart(config, part, { ...text, ...changed }));
}

function namesOf(size: string, keys: SizeKeys, text: Config): readonly string[] {
  switch (size) {
    case "hidden_size":
      // OPT's word vectors are as wide, but for the one model whose are not.
      return keys.hidden.filter((key, i) => i === 0 || text[key] === text[keys.hidden[0] as string]);
    case "num_hidden_layers":
      return keys.layers;
    case "num_attention_heads":
      return keys.heads;
    case "num_key_value_heads":
      return keys.kvHeads === undefined ? [] : [keys.kvHeads];
    case "intermediate_size":
      return keys.inner;
    default:
      return [size];
  }
}

function noSuchSize(size: string, type: string, origin: Origin): never {
  return fail({
    code: "CKP064",
    what: `a model of the type ${type} has no ${size}`,
    at: origin(size),
    why: "its config.json has no key for it, and every head has keys and values of its own",
    fix: `leave out --${size}`,
  });
}

export interface Reduction {
  /** Most layers of every stack. */
  readonly layers: number | undefined;
  /** Heads of every stack are divided by it, at least one is left, and widths follow. */
  readonly shrink: number;
}

/** A smaller model of the same kind: heads keep their width, the vocabulary and special tokens stay. */
export function reduced(config: Config, { layers, shrink }: Reduction): Config {
  if (layers === undefined && shrink === 1) return config;
  const text = languagePart(config);
  const vision = VISION_PARTS.find(part => isConfig(config[part]));
  // The decoder of an image encoder's features is as wide as they are, so it shrinks as much.
  const encoder = config.encoder as Config;
  const shared =
    text === "decoder" && vision === "encoder" ? ratioOf(encoder, shrink, KEYS[String(encoder.model_type)]) : undefined;
  const shrunk = (part: Config, least = 1, keys = KEYS[String(part.model_type)]): Config =>
    smaller(
      part,
      shared ?? ratioOf(part, shrink, keys),
      layers === undefined ? undefined : Math.max(layers, least),
      keys,
    );
  let made = withPart(config, text, shrunk(text === undefined ? config : (config[text] as Config)));
  // Features come from the second last layer of a ViT; every second block of a Swin has shifted windows.
  if (vision !== undefined)
    made = { ...made, [vision]: shrunk(config[vision] as Config, 2, PACKED_KEYS[String(config.model_type)]) };
  if (isConfig(config.qformer_config)) made = { ...made, qformer_config: shrunk(config.qformer_config) };
  return consistent(made, vision);
}

/** Widths that a part repeats of another. */
function consistent(config: Config, vision: string | undefined): Config {
  const tower = vision === undefined ? undefined : (config[vision] as Config);
  const repeated: Record<string, unknown> = {};
  if (tower && config.mm_hidden_size !== undefined) repeated.mm_hidden_size = tower.hidden_size;
  if (isConfig(config.llm_cfg)) repeated.hidden_size = config.llm_cfg.hidden_size;
  if (tower && isConfig(config.qformer_config))
    repeated.qformer_config = { ...config.qformer_config, encoder_hidden_size: tower.hidden_size };
  if (tower && PACKED_KEYS[String(config.model_type)]) repeated.vision_config = packedTower(config, tower);
  return asWideAsText({ ...config, ...repeated });
}

/** PaliGemma repeats its language model's width as that of features. */
function asWideAsText(config: Config): Config {
  if (config.projection_dim === undefined || !isConfig(config.text_config)) return config;
  return { ...config, projection_dim: config.text_config.hidden_size };
}

/** As wide at its end as the language model, and with numbers of layers that it has. */
function packedTower(config: Config, tower: Config): Config {
  const part = languagePart(config);
  const text = part === undefined ? config : (config[part] as Config);
  const depth = Number(tower.depth);
  const kept = (key: string, most = depth): Config => {
    const layers = tower[key];
    if (!Array.isArray(layers)) return {};
    const left = layers.filter(layer => Number(layer) < depth).slice(0, most);
    return { [key]: left.length > 0 || layers.length === 0 ? left : [depth - 1] };
  };
  return {
    ...tower,
    [config.model_type === "qwen2_vl" ? "hidden_size" : "out_hidden_size"]: text.hidden_size,
    ...kept("fullatt_block_indexes"),
    ...kept("deepstack_visual_indexes", Number(text.num_hidden_layers)),
  };
}

/** Heads that are left, as a part of those there were. */
function ratioOf(part: Config, shrink: number, keys: SizeKeys | undefined): number {
  const key = keys?.heads.at(-1);
  const value = key === undefined ? undefined : part[key];
  const heads = Number(Array.isArray(value) ? value[0] : value);
  return heads > 0 ? Math.max(1, Math.floor(heads / shrink)) / heads : 1;
}

function smaller(part: Config, ratio: number, layers: number | undefined, keys: SizeKeys | undefined): Config {
  if (keys === undefined) return part;
  const changed: Record<string, unknown> = {};
  const change = (names: readonly string[], to: (n: number) => number): void => {
    for (const name of names) {
      const value = part[name];
      if (typeof value === "number") changed[name] = to(value);
      else if (Array.isArray(value)) changed[name] = value.map(item => to(Number(item)));
    }
  };
  const scale = (n: number): number => Math.max(1, Math.round(n * ratio));
  change([...keys.heads, ...keys.hidden, ...keys.inner], scale);
  if (layers !== undefined) change(keys.layers, n => Math.min(n, layers));
  if (keys.kvHeads !== undefined)
    change([keys.kvHeads], n => sharedHeads(Number(changed[keys.heads[0] as string]), n * ratio));
  return { ...part, ...changed };
}

/** Whole groups of query heads share one: the largest divisor of `heads` up to `wanted`. */
function sharedHeads(heads: number, wanted: number): number {
  let n = Math.max(1, Math.min(heads, Math.floor(wanted)));
  while (heads % n !== 0) n--;
  return n;
}

function languagePart(config: Config): string | undefined {
  return LANGUAGE_PARTS.find(part => isConfig(config[part]));
}

function withPart(config: Config, part: string | undefined, to: Config): Config {
  return part === undefined ? to : { ...config, [part]: to };
}

function isConfig(value: unknown): value is Config {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
