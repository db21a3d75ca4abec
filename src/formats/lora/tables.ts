import { createHash } from "node:crypto";
import { fromStored, recipeBytes, type StoredTensor, showShape } from "../../tensor/index.ts";
import { isJsonObject, type Json } from "../json.ts";
import type { Adapter } from "./adapter.ts";
import { innerPath } from "./fit.ts";

/** The word tables that PEFT saves whole (modules_to_save), in LLaMA's spelling: [vocab, hidden] both. */
const TABLE_NAMES = ["embed_tokens", "lm_head"] as const;
export type TableName = (typeof TABLE_NAMES)[number];

/** GPT-2 calls its embedding otherwise. */
const TABLE_OF: ReadonlyMap<string, TableName> = new Map([
  ["embed_tokens.weight", "embed_tokens"],
  ["wte.weight", "embed_tokens"],
  ["lm_head.weight", "lm_head"],
]);

/** A table that an engine was built with in the place of its checkpoint's. */
export interface EngineTable {
  readonly name: TableName;
  /** See `tableHash`. */
  readonly sha256: string;
}

/** `base.model.embed_tokens.weight` → embed_tokens; undefined for what is no word table of the language model. */
export function tableOf(name: string): TableName | undefined {
  return TABLE_OF.get(innerPath(name));
}

/** SHA-256 over dtype, shape and bytes as stored: equal wherever in a file the table lies. */
async function tableHash(table: StoredTensor): Promise<string> {
  const hash = createHash("sha256").update(`${table.dtype} ${showShape(table.shape)}\n`);
  for await (const bytes of recipeBytes(fromStored(table))) hash.update(bytes);
  return hash.digest("hex");
}

/** Of each table, in their order. */
export async function tableHashes(tables: ReadonlyMap<TableName, StoredTensor>): Promise<readonly EngineTable[]> {
  const hashes: EngineTable[] = [];
  for (const [name, table] of tables) hashes.push({ name, sha256: await tableHash(table) });
  return hashes;
}

/** The whole tensors of an adapter that are word tables, and those that are not. */
export function sortWhole({ whole }: Adapter): {
  readonly tables: ReadonlyMap<TableName, StoredTensor>;
  readonly others: readonly string[];
} {
  const found = new Map<TableName, StoredTensor>();
  const others: string[] = [];
  for (const [name, tensor] of whole) {
    const table = tableOf(name);
    // Two spellings of one table: which of them PEFT would take is not guessed.
    if (table === undefined || found.has(table)) others.push(name);
    else found.set(table, tensor);
  }
  // In one order, whatever the file's: the tables of an engine are compared by it.
  const tables = new Map([...found].sort(([a], [b]) => TABLE_NAMES.indexOf(a) - TABLE_NAMES.indexOf(b)));
  return { tables, others };
}

export function isTables(value: Json | undefined): boolean {
  if (value === undefined) return true;
  const isTable = (table: Json): boolean =>
    isJsonObject(table) && (TABLE_NAMES as readonly Json[]).includes(table.name ?? null) && isHash(table.sha256);
  return Array.isArray(value) && value.length <= TABLE_NAMES.length && value.every(isTable);
}

function isHash(value: Json | undefined): boolean {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}
