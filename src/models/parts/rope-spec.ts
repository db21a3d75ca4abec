import type { ConfigReader } from "../config-reader.ts";
import type { RopeScaling } from "../spec.ts";
import { conflict } from "./common-keys.ts";

export interface RopeSpec {
  readonly ropeTheta: number;
  readonly ropeScaling?: RopeScaling;
}

/**
 * RoPE in the two spellings of transformers: `rope_theta` beside `rope_scaling` (before 5), or both inside
 * `rope_parameters` (5). A config that has both must say the same twice.
 */
export function readRope(c: ConfigReader, defaultTheta = 10_000): RopeSpec {
  const inner = c.has("rope_parameters") ? c.object("rope_parameters") : undefined;
  const scaled = c.has("rope_scaling") ? c.object("rope_scaling") : undefined;
  if (inner === undefined) c.ignore("rope_parameters");
  if (scaled === undefined) c.ignore("rope_scaling");
  const outerTheta = c.has("rope_theta") ? positive(c, "rope_theta") : undefined;
  const innerTheta = inner?.has("rope_theta") ? positive(inner, "rope_theta") : undefined;
  if (outerTheta !== undefined && innerTheta !== undefined && outerTheta !== innerTheta) {
    conflict(c, "rope_theta", outerTheta, "rope_parameters.rope_theta", innerTheta);
  }
  const fromInner = inner && readScaling(inner);
  const fromScaled = scaled && readScaling(scaled);
  if (fromInner !== undefined && scaled !== undefined && JSON.stringify(fromInner) !== JSON.stringify(fromScaled)) {
    conflict(c, "rope_scaling", fromScaled?.type ?? "default", "rope_parameters", fromInner.type);
  }
  const ropeScaling = fromInner ?? fromScaled;
  return { ropeTheta: innerTheta ?? outerTheta ?? defaultTheta, ...(ropeScaling && { ropeScaling }) };
}

/** Numbers each type reads besides `factor`; anything else in the object is an unread key. */
const PARAMETERS = {
  linear: [],
  dynamic: [],
  llama3: ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
} as const;

function readScaling(c: ConfigReader): RopeScaling | undefined {
  const type = c.has("rope_type") ? c.text("rope_type") : c.text("type", "default");
  if (c.has("rope_type") && c.has("type") && c.raw("type") !== type)
    conflict(c, "type", c.raw("type"), "rope_type", type);
  c.ignore("type", "rope_type", "rope_theta");
  c.only("partial_rotary_factor", [1, 1.0], "only part of each head would be rotated");
  if (type === "default") return undefined;
  if (type !== "linear" && type !== "dynamic" && type !== "llama3") {
    c.problem(
      "SPC004",
      "rope_type",
      `is ${JSON.stringify(type)}; supported: "default", "linear", "dynamic", "llama3"`,
      "positions beyond the trained length would get other angles than in training",
      "convert a checkpoint with one of these types, or remove the scaling and stay within the trained length",
    );
    return undefined;
  }
  const parameters = Object.fromEntries(PARAMETERS[type].map(key => [key, positive(c, key)]));
  return { type, factor: positive(c, "factor"), parameters };
}

function positive(c: ConfigReader, key: string): number {
  const value = c.number(key);
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
