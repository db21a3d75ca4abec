import type { RopeSections } from "../../layers/rope.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { RopeScaling } from "../spec.ts";
import { conflict } from "./common-keys.ts";

export interface RopeSpec {
  readonly ropeTheta: number;
  readonly ropeScaling?: RopeScaling;
  /** Of layers with a window, where they have a base of their own. */
  readonly localRopeTheta?: number;
  /** Channels of each head that are rotated, where not all are. */
  readonly rotaryDim?: number;
  /** How three positions a token share the channels. */
  readonly mrope?: RopeSections;
}

/** What a scaling is read against. */
export interface RopeSizes {
  readonly headDim: number;
  /** max_position_embeddings, where some types start from or stretch to. */
  readonly maxPositions: number;
  /** Where config.json keeps the first trained length beside them. */
  readonly original?: number;
  /** Positions are of several axes (`readMrope`), which older files have as a type. */
  readonly mrope?: boolean;
  /** `headDim` is what `partial_rotary_factor` leaves of a head. */
  readonly partial?: boolean;
}

const DEFAULT_THETA = 10_000;

/**
 * RoPE in the two spellings of transformers: `rope_theta` beside `rope_scaling` (before 5), or both inside
 * `rope_parameters` (5). A config that has both must say the same twice.
 */
export function readRope(c: ConfigReader, sizes: RopeSizes, usualTheta = DEFAULT_THETA): RopeSpec {
  const inner = c.has("rope_parameters") ? c.object("rope_parameters") : undefined;
  const scaled = c.has("rope_scaling") ? c.object("rope_scaling") : undefined;
  if (inner === undefined) c.ignore("rope_parameters");
  if (scaled === undefined) c.ignore("rope_scaling");
  const outerTheta = c.has("rope_theta") ? positive(c, "rope_theta") : undefined;
  const innerTheta = inner?.has("rope_theta") ? positive(inner, "rope_theta") : undefined;
  if (outerTheta !== undefined && innerTheta !== undefined && outerTheta !== innerTheta) {
    conflict(c, "rope_theta", outerTheta, "rope_parameters.rope_theta", innerTheta);
  }
  const fromInner = inner && readScaling(inner, sizes);
  const fromScaled = scaled && readScaling(scaled, sizes);
  if (fromInner !== undefined && scaled !== undefined && JSON.stringify(fromInner) !== JSON.stringify(fromScaled)) {
    conflict(c, "rope_scaling", fromScaled?.type ?? "default", "rope_parameters", fromInner.type);
  }
  const ropeScaling = fromInner ?? fromScaled;
  return { ropeTheta: innerTheta ?? outerTheta ?? usualTheta, ...(ropeScaling && { ropeScaling }) };
}

/**
 * The same with `partial_rotary_factor`, at the top or inside, and `original_max_position_embeddings` at the top (Phi-3,
 * whose older names for longrope are "su" and "yarn").
 */
export function readPartialRope(c: ConfigReader, { headDim, maxPositions }: RopeSizes): RopeSpec {
  const original = c.has("original_max_position_embeddings")
    ? c.integer("original_max_position_embeddings")
    : undefined;
  const outer = c.has("partial_rotary_factor") ? positive(c, "partial_rotary_factor") : undefined;
  c.ignore("original_max_position_embeddings", "partial_rotary_factor");
  const part = (["rope_parameters", "rope_scaling"] as const).find(key => c.has(key));
  const inner = part === undefined ? undefined : innerFactor(c.raw(part));
  if (outer !== undefined && inner !== undefined && outer !== inner)
    conflict(c, "partial_rotary_factor", outer, `${part}.partial_rotary_factor`, inner);
  const rotaryDim = Math.trunc(headDim * (inner ?? outer ?? 1));
  if (c.sound && (rotaryDim % 2 !== 0 || rotaryDim < 2 || rotaryDim > headDim)) {
    c.problem(
      "SPC006",
      "partial_rotary_factor",
      `rotates ${rotaryDim} of a head's ${headDim} channels; expected an even number of them`,
      "rotary embedding turns channels in pairs",
      "give partial_rotary_factor as it was trained",
    );
  }
  const sizes = { headDim: rotaryDim, maxPositions, partial: true, ...(original !== undefined && { original }) };
  return { ...readRope(c, sizes), ...(rotaryDim !== headDim && { rotaryDim }) };
}

function innerFactor(part: unknown): number | undefined {
  const factor = (part as Readonly<Record<string, unknown>>).partial_rotary_factor;
  return typeof factor === "number" && factor > 0 ? factor : undefined;
}

type ScalingReader = (c: ConfigReader, sizes: RopeSizes) => Omit<RopeScaling, "type">;

/** Keys of each type; anything else in the object is an unread key. */
const READERS: Readonly<Record<RopeScaling["type"], ScalingReader>> = {
  linear: c => ({ factor: positive(c, "factor"), parameters: {} }),
  dynamic: c => ({ factor: positive(c, "factor"), parameters: {} }),
  llama3: c => ({
    factor: positive(c, "factor"),
    parameters: numbers(c, ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]),
  }),
  yarn: readYarn,
  longrope: readLongrope,
};

export function readScaling(c: ConfigReader, sizes: RopeSizes): RopeScaling | undefined {
  const named = c.has("rope_type") ? c.text("rope_type") : c.text("type", "default");
  const type = todaysType(named, sizes);
  if (c.has("rope_type") && c.has("type") && todaysType(c.raw("type"), sizes) !== type)
    conflict(c, "type", c.raw("type"), "rope_type", named);
  c.ignore("type", "rope_type", "rope_theta");
  if (sizes.mrope) c.ignore("mrope_section", "mrope_interleaved");
  if (sizes.partial) c.ignore("partial_rotary_factor");
  else c.only("partial_rotary_factor", [1, 1.0], "only part of each head would be rotated");
  if (type === "default") return undefined;
  if (isScaling(type)) return { type, ...READERS[type](c, sizes) };
  // Nobody can say what another type's keys mean: that it is another is enough.
  c.ignore("factor", "original_max_position_embeddings", "short_factor", "long_factor", "attention_factor");
  c.problem(
    "SPC004",
    "rope_type",
    `is ${JSON.stringify(type)}; supported: ${["default", ...Object.keys(READERS)].map(name => `"${name}"`).join(", ")}`,
    "positions beyond the trained length would get other angles than in training",
    type === "su"
      ? 'give it as "longrope", the name that "su" has now'
      : "convert a checkpoint with one of these types, or remove the scaling and stay within the trained length",
  );
  return undefined;
}

/** What Phi-3's own code and Qwen2-VL's files called it before. */
function todaysType<T>(named: T, { partial, mrope }: RopeSizes): T | string {
  if (partial && (named === "su" || named === "yarn")) return "longrope";
  return mrope && named === "mrope" ? "default" : named;
}

function isScaling(type: string): type is RopeScaling["type"] {
  return Object.hasOwn(READERS, type);
}

/** Defaults of beta_fast, beta_slow, truncate and the temperature are the layer's (32, 1, true, 0.1 · ln factor + 1). */
function readYarn(c: ConfigReader, { maxPositions }: RopeSizes): Omit<RopeScaling, "type"> {
  // Of the first published models (Yarn-Llama-2); says how they were made.
  c.ignore("finetuned");
  const original = originalPositions(c, maxPositions);
  const parameters = {
    original_max_position_embeddings: original,
    ...given(c, ["attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"]),
    ...(c.has("truncate") && { truncate: c.boolean("truncate") }),
  };
  return { factor: stretch(c, maxPositions, original), parameters };
}

function readLongrope(
  c: ConfigReader,
  { headDim, maxPositions, original: beside }: RopeSizes,
): Omit<RopeScaling, "type"> {
  // transformers gives the one beside the object priority.
  const inside = originalPositions(c, beside ?? maxPositions);
  const original = beside ?? inside;
  // The temperature is divided by its logarithm.
  if (original === 1) {
    c.problem(
      "SPC002",
      "original_max_position_embeddings",
      "is 1; expected 2 or more",
      "a model of a single position has no longer ones to be stretched to",
      "give original_max_position_embeddings as it was trained",
    );
  }
  const parameters = {
    original_max_position_embeddings: original,
    short_factor: divisors(c, "short_factor", headDim),
    long_factor: divisors(c, "long_factor", headDim),
    ...given(c, ["attention_factor"]),
  };
  return { factor: stretch(c, maxPositions, original), parameters };
}

/** Where the model was first trained up to; max_position_embeddings, where transformers finds no other. */
function originalPositions(c: ConfigReader, maxPositions: number): number {
  return c.integer("original_max_position_embeddings", maxPositions);
}

/** Without `factor` transformers takes what max_position_embeddings is of the original length. */
function stretch(c: ConfigReader, maxPositions: number, original: number): number {
  return c.has("factor") ? positive(c, "factor") : maxPositions / original;
}

/** One positive number for each pair of channels. */
function divisors(c: ConfigReader, key: string, headDim: number): readonly number[] {
  const value = c.raw(key);
  const isPositive = (x: unknown): boolean => typeof x === "number" && Number.isFinite(x) && x > 0;
  if (!Array.isArray(value) || !value.every(isPositive)) {
    c.problem(
      value === undefined || value === null ? "SPC001" : "SPC002",
      key,
      "is not a list of positive numbers",
      "each pair of channels has its rotary frequency divided by one of them",
      `give ${key} as it was trained`,
    );
    return [];
  }
  // A head size that is no whole number has its own message.
  if (Number.isInteger(headDim / 2) && value.length !== headDim / 2) {
    c.problem(
      "SPC006",
      key,
      `has ${value.length} numbers; expected ${headDim / 2}, half of the head size ${headDim}`,
      "each pair of channels has its rotary frequency divided by one of them",
      `give ${key} as it was trained`,
    );
  }
  return value as readonly number[];
}

function numbers(c: ConfigReader, keys: readonly string[]): Record<string, number> {
  return Object.fromEntries(keys.map(key => [key, positive(c, key)]));
}

/** Those of the keys that are there. */
function given(c: ConfigReader, keys: readonly string[]): Record<string, number> {
  const there = keys.filter(key => c.has(key));
  c.ignore(...keys);
  return numbers(c, there);
}

export function positive(c: ConfigReader, key: string, fallback?: number): number {
  const value = c.number(key, fallback);
  if (value > 0) return value;
  c.problem(
    "SPC002",
    key,
    `is ${value}; expected a positive number`,
    "rotary angles are divided by it or are powers of it",
    `give ${key} as it was trained`,
  );
  return 1;
}
