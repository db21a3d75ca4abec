import { readFile, utimes } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { writeJson } from "../../checkpoint/files.ts";
import { MANIFEST_FILE } from "../../checkpoint/manifest.ts";
import { MmtrtError, type Problem } from "../../diagnostics/index.ts";
import type { JsonObject } from "../../formats/json.ts";
import { isProblem, problemOf, runSelf } from "../../toolchain/self.ts";
import { filesBelow } from "../cache/files.ts";
import type { Stage, StepKey } from "../cache/store.ts";
import { type Cell, originOf } from "./cell.ts";
import type { StepContext } from "./context.ts";
import { argvOf, pathsOf } from "./keys.ts";

/**
 * Seconds since 1970 of every file of a cached checkpoint, between 2001 and 2017: engine directories take a weight file's
 * time into their fingerprints, so it follows from the key. Two checkpoints have two times, because a memo of hashes tells
 * files by their times.
 */
function timeOf(key: string): number {
  return 1e9 + (Number.parseInt(key.slice(0, 12), 16) / 2 ** 48) * 5e8;
}

/** `mmtrt convert` as a process of its own, into the stage. Its warnings are facts: a cached checkpoint has them still. */
export async function runConvert(cell: Cell, key: StepKey, stage: Stage, context: StepContext): Promise<JsonObject> {
  const warnings: Problem[] = [];
  try {
    await runSelf({
      program: context.program,
      argv: ["convert", `--output_dir=${stage.files}`, ...argvOf("convert", cell)],
      env: context.env,
      signal: context.signal,
      onEvent(event) {
        if (event.event === "warning" && isProblem(event)) warnings.push(problemOf(event));
        else if (event.event === "progress")
          context.progress({ done: Number(event.done), total: Number(event.total), unit: "B" });
      },
    });
  } catch (error) {
    throw error instanceof MmtrtError ? new MmtrtError(error.problems.map(problem => placed(problem, cell))) : error;
  }
  await settle(cell, key, stage);
  return { warnings: warnings.map(warning => ({ ...placed(warning, cell) })) };
}

/** The user wrote the option in the matrix file and not on the command line of the child. */
function placed(problem: Problem, cell: Cell): Problem {
  const key = /^--(\w+)(?:=.*)? \((?:command line|default)\)$/.exec(problem.at)?.[1];
  return key === undefined ? problem : { ...problem, at: originOf(cell, "convert")(key) };
}

/** Equal sources give equal bytes: times of files and the folder that the sources lie in are no part of a checkpoint. */
async function settle(cell: Cell, { key }: StepKey, { files }: Stage): Promise<void> {
  const path = join(files, MANIFEST_FILE);
  const manifest = JSON.parse(await readFile(path, "utf8")) as JsonObject;
  await writeJson(path, { ...withoutFolders(manifest, cell), fingerprint: key });
  for (const name of await filesBelow(files)) await utimes(join(files, name), timeOf(key), timeOf(key));
}

function withoutFolders(manifest: JsonObject, cell: Cell): JsonObject {
  const folders = pathsOf("convert", cell).map(([, path]) => path);
  const texts = new Set(folders.flatMap(path => [path, resolve(path), relative("", resolve(path))]));
  const shorten = (value: unknown): unknown => {
    if (typeof value === "string")
      return [...texts]
        .filter(text => text !== "")
        .sort((a, b) => b.length - a.length)
        .reduce((text, folder) => text.replaceAll(folder, "MODEL_DIR"), value);
    if (Array.isArray(value)) return value.map(shorten);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, shorten(item)]));
  };
  return { ...manifest, warnings: (shorten(manifest.warnings ?? []) as JsonObject["warnings"]) ?? [] };
}
