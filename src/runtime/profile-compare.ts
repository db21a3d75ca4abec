import { fail, type Problem } from "../diagnostics/index.ts";
import { isJsonObject, type Json, type JsonObject, parseJson } from "../formats/json.ts";
import { readLines } from "../formats/json-lines.ts";
import type { Latency, ProfileReport } from "./profile.ts";

/** One number of two profiles. Less is better of all of them. */
export interface ProfileChange {
  readonly what: string;
  readonly unit: "ms" | "bytes";
  readonly before: number;
  readonly now: number;
  /** Share that it has grown by; negative where it has shrunk. */
  readonly grown: number;
  readonly isWorse: boolean;
}

/** Another one of these is another request, whose times say nothing about this one's. */
const SAME = ["batch_size", "num_beams", "prompt_tokens", "new_tokens"] as const;

/** Which percentiles are compared: of few values the 99th is the largest, so it is of decode steps alone. */
const STAGES = [
  ["visual_ms", "vision encoder", ["p50"]],
  ["prefill_ms", "prefill", ["p50"]],
  ["decode_ms", "decode step", ["p50", "p90", "p99"]],
  ["total_ms", "whole request", ["p50"]],
] as const;

/**
 * The profile in a file: what `mmtrt run --run_profiling --json` printed, or its `profile` alone.
 * @throws MmtrtError RUN060 for a file without one; CKP008 for one that is not JSON.
 */
export async function readProfile(file: string): Promise<JsonObject> {
  const text = (await readLines(file, { read: line => line, unusable, nothing: "is empty" })).join("\n");
  const first = text.indexOf("\n");
  // Events are one to a line; what a person has laid out anew is one value over many.
  const isEvents = first >= 0 && text.slice(0, first).trimEnd().endsWith("}");
  const values = isEvents
    ? text.split("\n").map((line, i) => parseJson(line, `${file}:${i + 1}`))
    : [parseJson(text, file)];
  const found = values.flatMap(profilesIn).at(-1);
  return found ?? fail(unusable(file, "holds no profile"));
}

function profilesIn(value: Json): readonly JsonObject[] {
  if (!isJsonObject(value)) return [];
  const profile = isJsonObject(value.profile) ? value.profile : value;
  return isJsonObject(profile.prefill_ms) ? [profile] : [];
}

/**
 * What has changed since an earlier profile, and whether by more than `tolerance`, a share: 0.1 lets a number grow by a tenth.
 * @throws MmtrtError RUN060 for a profile of another request.
 */
export function compareProfiles(
  now: ProfileReport,
  before: JsonObject,
  tolerance: number,
  file: string,
): readonly ProfileChange[] {
  const others = SAME.filter(key => before[key] !== now[key]);
  if (others.length > 0) {
    const said = others.map(key => `${key} ${JSON.stringify(before[key] ?? null)}, here ${now[key]}`).join("; ");
    fail(unusable(file, `is of another request: ${said}`));
  }
  const changes: ProfileChange[] = [];
  const add = (what: string, unit: "ms" | "bytes", old: unknown, value: number | undefined): void => {
    if (typeof old !== "number" || !(old > 0) || value === undefined) return;
    const grown = value / old - 1;
    changes.push({ what, unit, before: old, now: value, grown, isWorse: grown > tolerance });
  };
  for (const [key, name, percentiles] of STAGES) {
    const old = before[key];
    if (!isJsonObject(old)) continue;
    for (const at of percentiles) add(`${name} ${at}`, "ms", old[at], (now[key] as Latency | null)?.[at]);
  }
  const memory = isJsonObject(before.memory) ? before.memory : {};
  for (const [kind, own] of Object.entries(now.memory ?? {}))
    add(`memory, ${kind}`, "bytes", mostBytes(memory[kind]), mostBytes(own));
  return changes;
}

/** The most that memory of one kind took: its peak, or all there is. */
function mostBytes(account: unknown): number | undefined {
  const { bytes, peak_bytes: peak = bytes } = (account ?? {}) as {
    readonly bytes?: unknown;
    readonly peak_bytes?: unknown;
  };
  return typeof peak === "number" ? peak : undefined;
}

/** @returns the problem that numbers past the tolerance are. */
export function grownTooMuch(changes: readonly ProfileChange[], tolerance: number, at: string): Problem | undefined {
  const worse = changes.filter(({ isWorse }) => isWorse);
  if (worse.length === 0) return undefined;
  const list = worse.map(({ what, grown }) => `${what} by ${(grown * 100).toFixed(1)} %`).join(", ");
  return {
    code: "NUM007",
    what: `has grown by more than ${(tolerance * 100).toFixed(1)} %: ${list}`,
    at,
    why: "the same request takes longer, or more memory, than in the profile that it is compared with",
    fix: "look for what has changed (engine, device, clocks, other work on it), or give a larger --compare_tolerance",
  };
}

function unusable(at: string, reason: string): Problem {
  return {
    code: "RUN060",
    what: `${at} ${reason}`,
    at: "--compare",
    why: "times are compared with those of the same request, as an earlier run has printed them",
    fix: "mmtrt run … --run_profiling --json > OLD.json, with the same request",
  };
}
