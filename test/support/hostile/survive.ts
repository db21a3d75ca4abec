import { readFileSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { damaged, editsOf } from "./edits.ts";
import type { Reader, SharedInputs } from "./reader.ts";

/** Of processor time. What is meant is 2 s on a machine of its own; beside others, with the collector on other cores, it may be some more. */
const SECONDS = 8;
/** Above what the process held when the case began. */
const MEBIBYTES = 300;

export interface FuzzRun {
  readonly runs: number;
  readonly seed: number;
  /** Called before each case with what it is, so that a killed process can be asked what it was doing. */
  readonly onCase?: (index: number) => void;
}

/** Damages the reader's input in `runs` ways; rejects with the seed and the smallest edits that broke a promise. */
export async function fuzz(reader: Reader, shared: SharedInputs, { runs, seed, onCase }: FuzzRun): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "mmtrt-fuzz-"));
  const dir = join(root, "input");
  try {
    await mkdir(dir);
    const target = join(dir, await reader.prepare(dir, shared));
    const whole = await readFile(target);
    // What is undamaged is read, and modules are loaded before time is measured.
    const undamaged = await reader.read(dir).catch((error: unknown) => ifProblem(error));
    reader.accept?.(whole, undamaged);
    let index = 0;
    await fc.assert(
      fc.asyncProperty(editsOf(reader.form), async edits => {
        onCase?.(index++);
        const bytes = damaged(whole, reader.form, edits);
        await writeFile(target, bytes);
        await survive(reader, dir, bytes);
      }),
      // One case of many readers takes a tenth of a second: a minute of shrinking tells enough.
      { numRuns: runs, seed, interruptAfterTimeLimit: 600_000, endOnFailure: false },
    );
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** One read of damaged bytes: a value that holds what it must or a problem, in bounded time and memory. */
export async function survive(reader: Reader, dir: string, bytes: Buffer): Promise<"read" | "refused"> {
  const { value, error } = await bounded(reader, dir, MEBIBYTES);
  if (error !== undefined) ifProblem(error);
  else reader.accept?.(bytes, value);
  return error === undefined ? "read" : "refused";
}

/** What one read gave or threw. Throws itself when it took too long or too much. */
export async function bounded(
  reader: Pick<Reader, "name" | "read">,
  dir: string,
  mebibytes: number,
): Promise<{ readonly value?: unknown; readonly error?: unknown }> {
  const memory = new PeakMemory();
  const begin = process.cpuUsage();
  const { value, error } = await Promise.resolve()
    .then(() => reader.read(dir))
    .then(
      value => ({ value, error: undefined }),
      (error: unknown) => ({ value: undefined, error: error ?? new Error("rejected with nothing") }),
    );
  const { user, system } = process.cpuUsage(begin);
  const seconds = (user + system) / 1e6;
  if (seconds > SECONDS) throw new Error(`${reader.name} took ${seconds.toFixed(1)} s of processor time`);
  const grown = memory.grown();
  if (grown > mebibytes) throw new Error(`${reader.name} took ${Math.round(grown)} MiB of memory`);
  return { value, error };
}

/** Rethrows what is no MmtrtError, and what is one without words. */
export function ifProblem(error: unknown): undefined {
  if (!(error instanceof MmtrtError)) throw error;
  for (const { code, what, at, why, fix } of error.problems)
    if (!/^[A-Z]{3}\d{3}$/.test(code) || ![what, at, why, fix].every(text => text !== "" && text.length < 4100))
      throw new Error(`a problem without words, or with too many: ${code}, ${what.slice(0, 300)} (${what.length})`);
  return undefined;
}

/** The most memory that this process has held since, where the system tells. */
class PeakMemory {
  readonly #before: number | undefined;

  constructor() {
    this.#before = resetPeak();
  }

  /** MiB above the beginning; 0 where it is not known. */
  grown(): number {
    return this.#before === undefined ? 0 : (statusOf("VmHWM") ?? 0) - this.#before;
  }
}

/** Linux forgets a process's peak when it is told to; the memory held then, in MiB. */
function resetPeak(): number | undefined {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
    return statusOf("VmRSS");
  } catch {
    return undefined;
  }
}

function statusOf(key: "VmHWM" | "VmRSS"): number | undefined {
  const kib = new RegExp(`^${key}:\\s*(\\d+) kB$`, "m").exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return kib === undefined ? undefined : Number(kib) / 1024;
}
