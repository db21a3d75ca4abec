import type { Problem } from "../diagnostics/index.ts";
import type { OptionSpec } from "./define.ts";
import { nearest } from "./nearest.ts";
import { expectation, placeholderOf } from "./value.ts";

/** A value outside the option's type, range or words. `write` is how the place spells it: `--key `, `MMTRT_KEY=`, `key: `. */
export function badValue(key: string, spec: OptionSpec, seen: unknown, origin: string, write: string): Problem {
  const text = typeof seen === "string" ? seen || "an empty text" : (JSON.stringify(seen) ?? String(seen));
  const words = [...(spec.enum ?? []), ...(spec.words ?? [])];
  const guess = typeof seen === "string" ? nearest(seen, words) : undefined;
  return {
    code: "CFG002",
    at: origin,
    what: `${key} must be ${expectation(spec)}; got ${text}`,
    why: spec.about,
    fix: guess === undefined ? `${write}${placeholderOf(spec)}` : `did you mean ${guess}?`,
  };
}
