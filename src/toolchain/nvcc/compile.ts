import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { MmtrtError, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { quoteCommand } from "../quote.ts";
import { endProblem, runTool } from "../spawn.ts";
import type { ToolEnvironment } from "../tensorrt/request.ts";
import type { Compiler } from "./find.ts";
import { compileProblems } from "./messages.ts";

/** One source file to compile. */
export interface CompileUnit {
  readonly name: string;
  readonly source: string;
  /** Everything but the source and the output. */
  readonly flags: readonly string[];
  /** The files that can change what comes out: the source and the headers it may include. */
  readonly inputs: readonly string[];
}

export interface CompiledUnit {
  readonly name: string;
  readonly object: string;
  /** Found in the cache. */
  readonly cached: boolean;
  readonly seconds: number;
}

export interface CompileOptions {
  readonly compiler: Compiler;
  readonly env: ToolEnvironment;
  /** Objects are kept here by the hash of what they were made from. */
  readonly cacheDir: string;
  /** Compilers at once. */
  readonly workers: number;
  readonly signal: AbortSignal;
  readonly onUnit?: (unit: CompiledUnit, done: number, total: number) => void;
}

/** Compiles what the cache does not have, several units at once. Throws PLG003 and PLG005 for all units that fail. */
export async function compileUnits(
  units: readonly CompileUnit[],
  options: CompileOptions,
): Promise<readonly CompiledUnit[]> {
  await dropAbandoned(options.cacheDir);
  const done: CompiledUnit[] = [];
  const problems: Problem[] = [];
  const waiting = [...units];
  const work = async (): Promise<void> => {
    for (let unit = waiting.shift(); unit !== undefined && !options.signal.aborted; unit = waiting.shift()) {
      try {
        const compiled = await compileUnit(unit, options);
        done.push(compiled);
        options.onUnit?.(compiled, done.length, units.length);
      } catch (error) {
        if (!(error instanceof MmtrtError)) throw error;
        problems.push(...error.problems);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, options.workers) }, work));
  options.signal.throwIfAborted();
  throwIfAny(problems);
  return units.flatMap(unit => done.filter(({ name }) => name === unit.name));
}

/** What compilers were writing for a process that is gone, of the names that begin so; another one may be at work in the same directory. */
async function dropAbandoned(dir: string, begin = ""): Promise<void> {
  for (const name of await readdir(dir).catch(() => [])) {
    if (!name.startsWith(begin)) continue;
    const pid = Number(/\.(\d+)\.partial$/.exec(name)?.[1] ?? process.pid);
    if (pid !== process.pid && !isAlive(pid)) await rm(join(dir, name), { force: true }).catch(() => undefined);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function compileUnit(unit: CompileUnit, options: CompileOptions): Promise<CompiledUnit> {
  const object = join(options.cacheDir, `${basename(unit.source)}.${await keyOf(unit, options.compiler)}.o`);
  const size = await stat(object).then(
    info => info.size,
    () => 0,
  );
  if (size > 0) return { name: unit.name, object, cached: true, seconds: 0 };
  const seconds = await runCompiler([...unit.flags, "-c", unit.source], object, unit.source, options);
  return { name: unit.name, object, cached: false, seconds };
}

/** Links objects into a shared library. Throws PLG003. */
export async function linkLibrary(
  objects: readonly string[],
  library: string,
  flags: readonly string[],
  options: CompileOptions,
): Promise<void> {
  await link(["-shared", ...flags, ...objects], library, options);
}

/** Links objects into a program. Throws PLG003. */
export async function linkProgram(
  objects: readonly string[],
  program: string,
  flags: readonly string[],
  options: CompileOptions,
): Promise<void> {
  await link([...objects, ...flags], program, options);
}

async function link(args: readonly string[], output: string, options: CompileOptions): Promise<void> {
  await dropAbandoned(dirname(output), `${basename(output)}.`);
  await runCompiler(args, output, output, options);
}

/** Writes aside, then renames: what has the final name is whole. Gives the seconds it took. */
async function runCompiler(
  args: readonly string[],
  output: string,
  source: string,
  options: CompileOptions,
): Promise<number> {
  await mkdir(dirname(output), { recursive: true });
  const partial = `${output}.${process.pid}.partial`;
  const argv = [options.compiler.file, ...args, "-o", partial] as const;
  const lines: string[] = [];
  try {
    const end = await runTool({
      argv: argv as unknown as readonly [string, ...string[]],
      env: options.env,
      signal: options.signal,
      endsWithParent: true,
      onLine: line => lines.push(line),
    });
    options.signal.throwIfAborted();
    if (end.why === "exit" && end.code === 0) {
      await rename(partial, output);
      return end.seconds;
    }
    const command = quoteCommand(argv);
    throw new MmtrtError(
      end.why === "exit" ? compileProblems(lines, source, command) : [endProblem(end, argv, undefined)],
    );
  } finally {
    await rm(partial, { force: true });
  }
}

/** The hash of the compiler's version, its flags and every input's name and content. */
async function keyOf({ flags, inputs }: CompileUnit, compiler: Compiler): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify([compiler.version, flags]));
  for (const file of [...inputs].sort()) {
    hash.update(`\0${basename(file)}\0`);
    // readFile() takes a read that gave less than it was asked for as the file's end.
    for await (const bytes of createReadStream(file)) hash.update(bytes as Buffer);
  }
  return hash.digest("hex").slice(0, 24);
}
