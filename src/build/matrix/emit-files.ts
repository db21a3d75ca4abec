import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "../../formats/package-root.ts";
import type { Cell } from "./cell.ts";
import type { JobGroup } from "./emit-groups.ts";

export interface EmitRequest {
  /** From the directory where the jobs run, all three. */
  readonly matrixFile: string;
  readonly outputDir: string;
  readonly cacheDir: string;
  /** Of the whole matrix file. */
  readonly all: readonly Cell[];
  /** What the jobs build. */
  readonly cells: readonly Cell[];
  readonly groups: readonly JobGroup[];
  /** Words for every build: `--frozen`, `--retries=2`. */
  readonly extra: readonly string[];
  readonly version: string;
  /** The way from the folder of the files back to where the jobs run: `..`. */
  readonly back: string;
}

export interface EmittedFile {
  readonly name: string;
  readonly text: string;
  readonly executable?: boolean;
}

/** A template's text with the words of this matrix in it. */
export interface Wording {
  /** Of the build of one group, as a shell reads them. */
  readonly build: (group: JobGroup) => string;
  readonly gather: string;
  readonly request: EmitRequest;
}

export function jobTemplate(name: string): Promise<string> {
  return readFile(join(packageRoot(), "templates", "jobs", name), "utf8");
}

/** For a POSIX shell. */
export function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
