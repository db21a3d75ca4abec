import { join } from "node:path";
import { MmtrtError } from "../../diagnostics/index.ts";
import { isJsonObject, type Json, type JsonObject, readJsonObject } from "../../formats/json.ts";
import { fingerprint } from "../fingerprint.ts";

export const ENTRY_FILE = "entry.json";
export const FILES_DIR = "files";
/** An engine directory has some hundred files; the facts of a plan some hundred kilobytes. */
const MAX_BYTES = 64 << 20;

/** What a step was: each kind has keys of its own. */
export const STEP_KINDS = ["convert", "plan", "graph", "engine", "cell"] as const;
export type StepKind = (typeof STEP_KINDS)[number];

/** One file of a result, by its path below `files/`. */
export interface EntryFile {
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

/** `entry.json`: the result of a step, with what it was made of. */
export interface Entry {
  readonly format: 1;
  readonly kind: StepKind;
  /** SHA-256 of `inputs` as sorted JSON. */
  readonly key: string;
  /** Everything that decides the result, for --explain. */
  readonly inputs: JsonObject;
  readonly files: readonly EntryFile[];
  /** What later steps need to know without opening a file. */
  readonly facts: JsonObject;
  /** Wall clock of the step itself. */
  readonly seconds: number;
  /** Largest memory of its processes, where it was measured. */
  readonly peak_bytes: number | null;
}

/** The text of `entry.json`, with a hash over the rest of it: a flipped bit in a fact must not reach an engine. */
export function encodeEntry(entry: Entry): string {
  return `${JSON.stringify({ ...entry, sha256: fingerprint(entry) })}\n`;
}

export function bytesOfEntry({ files }: Entry): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}

/** The entry in `dir`, or in words why there is none that can be used. */
export async function readEntry(dir: string, kind: StepKind, key: string): Promise<Entry | string> {
  let json: JsonObject;
  try {
    json = await readJsonObject(join(dir, ENTRY_FILE), { maxBytes: MAX_BYTES });
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error.problems.some(({ code }) => code === "CKP001" || code === "CKP002")
      ? "absent"
      : `${ENTRY_FILE} cannot be read: ${error.problems[0]?.what ?? ""}`;
  }
  if (json.format !== 1) return `${ENTRY_FILE} has format ${JSON.stringify(json.format)}`;
  if (json.kind !== kind || json.key !== key) return `${ENTRY_FILE} is of another step`;
  const { sha256, ...entry } = json;
  if (sha256 !== fingerprint(entry)) return `${ENTRY_FILE} has other bytes than were written`;
  return isEntry(entry) ? (entry as unknown as Entry) : `${ENTRY_FILE} has another form`;
}

function isEntry({ inputs, files, facts, seconds, peak_bytes: peak }: JsonObject): boolean {
  return (
    isJsonObject(inputs) &&
    isJsonObject(facts) &&
    typeof seconds === "number" &&
    (peak === null || typeof peak === "number") &&
    Array.isArray(files) &&
    files.every(isFile)
  );
}

/** Paths stay below `files/`: a cache may come from another machine. */
function isFile(value: Json): boolean {
  if (!isJsonObject(value)) return false;
  const { path, size, sha256 } = value;
  return (
    typeof path === "string" &&
    !path.startsWith("/") &&
    !path.includes("\\") &&
    path.split("/").every(part => part !== "" && part !== "." && part !== "..") &&
    Number.isSafeInteger(size) &&
    typeof sha256 === "string" &&
    /^[0-9a-f]{64}$/.test(sha256)
  );
}
