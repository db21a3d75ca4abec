import { createHash } from "node:crypto";

/** SHA-256 over JSON with sorted keys: equal values have equal fingerprints whatever the order they were written in. */
export function fingerprint(value: unknown): string {
  return createHash("sha256").update(sortedJson(value)).digest("hex");
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** JSON text with the keys of every object in code-point order; absent (undefined) keys are left out. */
export function sortedJson(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) return `[${value.map(sortedJson).join(",")}]`;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${sortedJson(item)}`).join(",")}}`;
}
