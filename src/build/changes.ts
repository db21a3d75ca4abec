import type { Json, JsonObject } from "../formats/json.ts";

/** `options.max_seq_len 512 → 256`; hashes are only said to have changed. */
export function changesOf(before: Json, after: Json, path = ""): readonly string[] {
  const isTree = (value: Json | undefined): value is JsonObject | readonly Json[] =>
    typeof value === "object" && value !== null;
  if (isTree(before) && isTree(after) && Array.isArray(before) === Array.isArray(after)) {
    const [a, b] = [before, after] as unknown as readonly Readonly<Record<string, Json>>[];
    const keys = [...new Set([...Object.keys(a ?? {}), ...Object.keys(b ?? {})])];
    return keys.flatMap(key => {
      const [x, y] = [a?.[key], b?.[key]];
      const own = path === "" ? key : `${path}.${key}`;
      // Null stands for what is not there, but for a null that is there on one side alone.
      if ((x === undefined && y === null) || (x === null && y === undefined))
        return [`${nameOf(own)} ${x === undefined ? "is null now" : "was null"}`];
      return changesOf(x ?? null, y ?? null, own);
    });
  }
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  const name = nameOf(path);
  const isHash = (value: Json): boolean => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
  if (isHash(before) || isHash(after)) {
    const verb = before === null ? "is new" : after === null ? "is gone" : "changed";
    return [`${name} ${verb}`];
  }
  return [`${name} ${brief(before)} → ${brief(after)}`];
}

function nameOf(path: string): string {
  return path.replace(/^options\./, "") || "the value";
}

function brief(value: Json): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 37)}…` : text;
}
