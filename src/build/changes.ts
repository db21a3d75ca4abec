import type { Json, JsonObject } from "../formats/json.ts";

/** `options.max_seq_len 512 → 256`; hashes are only said to have changed. */
export function changesOf(before: Json, after: Json, path = ""): readonly string[] {
  const isTree = (value: Json | undefined): value is JsonObject | readonly Json[] =>
    typeof value === "object" && value !== null;
  if (isTree(before) && isTree(after) && Array.isArray(before) === Array.isArray(after)) {
    const [a, b] = [before, after] as unknown as readonly Readonly<Record<string, Json>>[];
    const keys = [...new Set([...Object.keys(a ?? {}), ...Object.keys(b ?? {})])];
    return keys.flatMap(key => {
      const [x, y] = [own(a, key), own(b, key)];
      const inside = path === "" ? key : `${path}.${key}`;
      // Null stands for what is not there, but for a null that is there on one side alone.
      if ((x === undefined && y === null) || (x === null && y === undefined))
        return [`${nameOf(inside)} ${x === undefined ? "is null now" : "was null"}`];
      return changesOf(x ?? null, y ?? null, inside);
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

/** A key may be called `toString`, which every object has from its prototype. */
function own(tree: Readonly<Record<string, Json>> | undefined, key: string): Json | undefined {
  return tree !== undefined && Object.hasOwn(tree, key) ? tree[key] : undefined;
}

function nameOf(path: string): string {
  return path.replace(/^options\./, "") || "the value";
}

function brief(value: Json): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 37)}…` : text;
}
