import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import type { LoraModule, LoraModuleName } from "../../tensor/index.ts";
import { LORA_MODULES } from "../../tensor/index.ts";
import { isJsonObject, type Json } from "../json.ts";
import { type EngineTable, isTables } from "./tables.ts";

/** Where an engine directory keeps its adapters: `lora/0`, `lora/1`, … */
export const LORA_DIR = "lora";

/** What an engine's graph has adapter inputs for, and the adapters that were built in; a key of `llm/config.json`. */
export interface LoraEngineConfig {
  readonly max_lora_rank: number;
  readonly max_loras: number;
  readonly target_modules: readonly LoraModuleName[];
  /** Every layer of the model has these; all that adapters could change. */
  readonly modules: readonly LoraModule[];
  readonly layers: number;
  readonly adapters: readonly EngineAdapter[];
  /** Word tables that one of them brought: the graph has them in the place of the checkpoint's, for every row. */
  readonly tables?: readonly EngineTable[];
}

export interface EngineAdapter {
  /** Relative to the engine directory. */
  readonly dir: string;
  /** Name of the directory it came from. */
  readonly name: string;
  readonly files: readonly { readonly name: string; readonly sha256: string }[];
}

/** SHA-256 of an adapter's file; its system error when it cannot be read. */
export async function fileHash(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** The largest models have some 130 layers, and their MLPs are 60 000 wide; the limits only keep arrays small. */
const MAX_LAYERS = 10_000;
const MAX_SIZE = 1 << 24;

export function isLoraConfig(value: Json | undefined): boolean {
  if (value === undefined) return true;
  if (!isJsonObject(value)) return false;
  const { target_modules: targets, modules, adapters } = value;
  return (
    isCount(value.max_lora_rank, MAX_SIZE) &&
    isCount(value.max_loras, MAX_SIZE) &&
    isCount(value.layers, MAX_LAYERS) &&
    Array.isArray(targets) &&
    targets.every(isName) &&
    Array.isArray(modules) &&
    modules.length <= LORA_MODULES.length &&
    modules.every(isModule) &&
    Array.isArray(adapters) &&
    adapters.every(isAdapter) &&
    isTables(value.tables)
  );
}

function isModule(value: Json): boolean {
  if (!isJsonObject(value) || !isName(value.name ?? null)) return false;
  const { parts } = value;
  const isPart = (part: Json): boolean =>
    isJsonObject(part) && isCount(part.rows, MAX_SIZE) && isCount(part.units, MAX_SIZE);
  return (
    typeof value.product === "string" &&
    typeof value.hf === "string" &&
    isCount(value.in, MAX_SIZE) &&
    isCount(value.out, MAX_SIZE) &&
    (value.split === "row" || value.split === "column") &&
    Array.isArray(parts) &&
    parts.every(isPart) &&
    isOrder(value.rows, value.out as number)
  );
}

/** Every row of B once. */
function isOrder(rows: Json | undefined, out: number): boolean {
  if (rows === undefined) return true;
  const isRange = (range: Json): boolean =>
    Array.isArray(range) &&
    range.length === 2 &&
    range.every(row => Number.isInteger(row) && (row as number) >= 0 && (row as number) <= out) &&
    (range[0] as number) < (range[1] as number);
  if (!Array.isArray(rows) || rows.length > out || !rows.every(isRange)) return false;
  const sorted = (rows as [number, number][]).toSorted(([a], [b]) => a - b);
  return sorted.every(([start], i) => start === (sorted[i - 1]?.[1] ?? 0)) && sorted.at(-1)?.[1] === out;
}

function isAdapter(value: Json): boolean {
  if (!isJsonObject(value)) return false;
  const isFile = (file: Json): boolean =>
    isJsonObject(file) && typeof file.sha256 === "string" && /^adapter_[\w.]+$/.test(String(file.name));
  return (
    /^lora\/\d+$/.test(String(value.dir)) &&
    typeof value.name === "string" &&
    Array.isArray(value.files) &&
    value.files.every(isFile)
  );
}

function isName(value: Json): boolean {
  return (LORA_MODULES as readonly Json[]).includes(value);
}

function isCount(value: Json | undefined, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= most;
}
