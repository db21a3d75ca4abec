import type { Json, JsonObject } from "../formats/json.ts";

/** `options.max_seq_len 512 → 256`; hashes are only said to have changed. */
export function changesOf(before: Json, after: Json, path = ""): readonly string[] {
  const isTree = (value: Json | undefined): value is JsonObject | readonly Json[] =>
    typeof value === "object" && value !== null;
  if (isTree(before) && isTree(after) && Array.isArray(before) === Array.isArray(after)) {
    const [a, b] = [before, after] as unknown as readonly Readonly<Record<string, Json>>[];
    const keys = [...new Set([...Object.keys(a ?? {}), ...Object.keys(b ?? {})])];
    return keys.flatMap(key => changesOf(a?.[key] ?? null, b?.[key] ?? null, path === "" ? key : `${path}.${key}`));
  }
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  const name = path.replace(/^options\./, "") || "the value";
  const isHash = (value: Json): boolean => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
  if (isHash(before) || isHash(after)) {
    const verb = before === null ? "is new" : after === null ? "is gone" : "changed";
    return [`${name} ${verb}`];
  }
  return [`${name} ${brief(before)} → ${brief(after)}`];
}

function brief(value: Json): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 37)}…` : text;
}
