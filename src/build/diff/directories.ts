import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { FilePool } from "../../formats/file.ts";
import { type JsonObject, readJson, readJsonObject } from "../../formats/json.ts";
import { filesBelow } from "../cache/files.ts";
import { changesOf } from "../changes.ts";
import { sameBytes } from "./bytes.ts";
import { graphDifferences } from "./graphs.ts";
import { tensorDifferences } from "./tensors.ts";

/** One difference in words, under the file or the manifest that it is in. */
export interface Difference {
  readonly where: string;
  readonly what: string;
}

export interface Comparison {
  readonly kind: "engine" | "checkpoint";
  /** Files of both with the same bytes. */
  readonly same: number;
  readonly differences: readonly Difference[];
}

const MANIFEST = "mmtrt.json";
/** What builders print is never twice the same. */
const LOGS = "logs/";
const MAX_FILES = 20_000;
/** Of one file; the rest is counted. */
const MOST = 20;

/** Errors: MTX013 for directories of another or of two kinds; those of the files read. */
export async function compareDirectories(first: string, second: string, signal: AbortSignal): Promise<Comparison> {
  const [a, b] = [await manifestOf(first), await manifestOf(second)];
  if (a.kind !== b.kind) fail(twoKinds(first, a, second, b));
  const [own, other] = [await filesOf(first), await filesOf(second)];
  const differences: Difference[] = manifestDifferences(a, b);
  const pool = new FilePool();
  let same = 0;
  try {
    for (const file of [...new Set([...own, ...other])].sort()) {
      signal.throwIfAborted();
      if (!own.includes(file)) differences.push({ where: file, what: `only in ${second}` });
      else if (!other.includes(file)) differences.push({ where: file, what: `only in ${first}` });
      else if (await sameBytes(join(first, file), join(second, file), signal)) same++;
      else if (file !== MANIFEST) {
        const found = await fileDifferences(pool, join(first, file), join(second, file), signal);
        const shown = found.length > MOST ? [...found.slice(0, MOST), `and ${found.length - MOST} more`] : found;
        differences.push(...shown.map(what => ({ where: file, what })));
      }
    }
  } finally {
    await pool.close();
  }
  return { kind: a.kind === "engine" ? "engine" : "checkpoint", same, differences };
}

async function manifestOf(dir: string): Promise<JsonObject> {
  const manifest = await readJsonObject(join(dir, MANIFEST));
  if (manifest.kind === "engine" || manifest.kind === "checkpoint") return manifest;
  return fail({
    code: "MTX013",
    what: `${dir} is a ${JSON.stringify(manifest.kind ?? null)}`,
    at: dir,
    why: "what differs is said in the terms of engines and checkpoints",
    fix: "give what mmtrt build, mmtrt convert or mmtrt matrix wrote",
  });
}

async function filesOf(dir: string): Promise<readonly string[]> {
  return (await filesBelow(dir, MAX_FILES)).filter(file => !file.startsWith(LOGS));
}

/** Steps, sizes and hashes follow from the files, which are compared themselves. */
function manifestDifferences(a: JsonObject, b: JsonObject): Difference[] {
  const part = ({ version, backend, target, architecture, model, options }: JsonObject): JsonObject =>
    ({ version, backend, target, architecture, model, options }) as JsonObject;
  const plain = (manifest: JsonObject): JsonObject => JSON.parse(JSON.stringify(part(manifest))) as JsonObject;
  return changesOf(plain(a), plain(b)).map(what => ({ where: MANIFEST, what }));
}

async function fileDifferences(
  pool: FilePool,
  first: string,
  second: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (first.endsWith(".safetensors")) return tensorDifferences(pool, first, second, signal);
  if (first.endsWith(".onnx")) return graphDifferences(first, second);
  if (first.endsWith(".json")) {
    const changes = changesOf(await readJson(first), await readJson(second));
    return changes.length === 0 ? ["the same values, written otherwise"] : changes;
  }
  const sizes = await Promise.all([first, second].map(async file => (await pool.open(file)).size));
  const engine = first.endsWith(".engine") ? "; TensorRT may choose other kernels at each build" : "";
  return sizes[0] === sizes[1]
    ? [`other bytes, ${sizes[0]} of them${engine}`]
    : [`${sizes[0]} bytes → ${sizes[1]}${engine}`];
}

function twoKinds(first: string, a: JsonObject, second: string, b: JsonObject): Parameters<typeof fail>[0] {
  return {
    code: "MTX013",
    what: `${first} is a directory of kind ${String(a.kind)}, and ${second} of kind ${String(b.kind)}`,
    at: second,
    why: "they have no files in common",
    fix: "give two engine directories, or two checkpoints",
  };
}
