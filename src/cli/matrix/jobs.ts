import { chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import type { Cell, MatrixFile } from "../../build/matrix/cell.ts";
import { type EmitTarget, emitJobs, MOST_JOBS } from "../../build/matrix/emit.ts";
import type { EmittedFile } from "../../build/matrix/emit-files.ts";
import { groupsOf } from "../../build/matrix/emit-groups.ts";
import type { MatrixResult } from "../../build/matrix/events.ts";
import { gathered, resultIn } from "../../build/matrix/gather.ts";
import { asOutputProblem } from "../../checkpoint/files.ts";
import { fail, MmtrtError, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { VERSION } from "../version.ts";
import type { MatrixCommand } from "./context.ts";
import { Reports } from "./reports.ts";
import { summary } from "./view.ts";

/** Of a run on this machine, or of a part of the cells that only it can know. */
const OF_A_RUN = ["shard", "changed_since", "plan", "explain"] as const;
const REPORTS = ["junit", "markdown", "html"] as const;
/** What jobs take over; `keep_going` they have anyway, `lock` is for a run over all cells. */
const HANDED_ON = ["frozen", "workers", "memory_budget", "disk_budget", "gpu_budget", "retries", "cache_dir"] as const;
const NEITHER_FOR_GATHER = [...OF_A_RUN, ...HANDED_ON, "emit"] as const;
/** A result has some hundred bytes for each step; a job that printed more than this printed something else. */
const MAX_RESULT_BYTES = 256 * 1024 ** 2;

/** Errors: MTX019. */
export function checkTogether({ options, given, origin }: MatrixCommand): void {
  const clash = (one: string, others: readonly string[], why: string): Problem[] =>
    others
      .filter(key => given(key))
      .map(key => ({
        code: "MTX019" as const,
        at: origin(key),
        what: `--${key} does not go with --${one}`,
        why,
        fix: `take --${key} or --${one} out`,
      }));
  const alone = (["output", "jobs"] as const).filter(key => given(key) && options.emit === undefined);
  throwIfAny([
    ...(options.emit === undefined
      ? []
      : clash("emit", [...OF_A_RUN, ...REPORTS], "job files are written, nothing is built")),
    ...(options.gather === undefined ? [] : clash("gather", NEITHER_FOR_GATHER, "results are read, nothing is built")),
    ...alone.map(key => ({
      code: "MTX019" as const,
      at: origin(key),
      what: `--${key} is given without --emit`,
      why: "it is about job files, and none are written",
      fix: "--emit github, gitlab, slurm or kubernetes",
    })),
  ]);
}

/** Writes job files for these cells. Errors: MTX017, MTX018, MTX022, CKP009. */
export async function emitCommand(
  { options, given, origin, ui }: MatrixCommand,
  target: EmitTarget,
  { file, all, cells }: { readonly file: MatrixFile; readonly all: readonly Cell[]; readonly cells: readonly Cell[] },
): Promise<void> {
  const groups = groupsOf(cells, { jobs: options.jobs, limit: MOST_JOBS[target], at: origin("jobs") });
  const dir = options.output;
  const values: Readonly<Record<string, unknown>> = options;
  const files = await emitJobs(target, {
    matrixFile: fromHere(file.file),
    outputDir: fromHere(file.outputDir),
    cacheDir: fromHere(options.cache_dir ?? file.cacheDir),
    all,
    cells,
    groups,
    extra: HANDED_ON.filter(key => given(key)).map(key => `--${key}=${String(values[key])}`),
    version: VERSION,
    back: relative(join(dir, target), ".") || ".",
  });
  await refuseOverwriting(files, dir, origin("output"));
  for (const emitted of files) await writeNew(join(dir, emitted.name), emitted);
  const written = files.map(({ name }) => join(dir, name));
  const jobs = groups.map(({ name, jobs: count, cells: own }) => ({ group: name, jobs: count, cells: own.length }));
  const counts = jobs.map(({ group, jobs: n, cells: m }) => `${group}: ${m} cells in ${n} job${n === 1 ? "" : "s"}`);
  ui.result([...written.map(name => `wrote ${name}`), ...counts].join("\n"), { files: written, groups: jobs });
}

/** One report of many jobs. Gives the result, so that the worst cell decides on the exit code. Errors: MTX020, CKP009. */
export async function gatherCommand(
  { options, ui }: MatrixCommand,
  files: readonly string[],
  { file, cells }: { readonly file: MatrixFile; readonly cells: readonly Cell[] },
): Promise<MatrixResult> {
  const reports = await Reports.open(options);
  const jobs: { readonly file: string; readonly result: MatrixResult }[] = [];
  const problems: Problem[] = [];
  for (const name of files) {
    try {
      jobs.push({ file: name, result: resultIn({ file: name, text: await textOf(name) }, VERSION) });
    } catch (error) {
      if (!(error instanceof MmtrtError)) throw error;
      problems.push(...error.problems);
    }
  }
  // Where no job has a result there is nothing to report; otherwise the cells of the others are reported as missing.
  if (jobs.length === 0) throwIfAny(problems);
  for (const problem of problems) ui.warn(problem);
  const result = gathered(cells, jobs, { file: file.file, version: VERSION });
  await reports.write(result);
  ui.result(summary(result), { ...result });
  return result;
}

async function textOf(file: string): Promise<string> {
  const refuse = (what: string): never =>
    fail({
      code: "MTX020",
      at: file,
      what: `${file} is not the result of a job: ${what}`,
      why: "a report is made of what jobs printed with --json",
      fix: "see the logs of the jobs",
    });
  const size = await stat(file).then(
    found => (found.isFile() ? found.size : refuse("it is not a regular file")),
    () => refuse("it is not there"),
  );
  if (size > MAX_RESULT_BYTES) refuse(`it has ${size} bytes`);
  return readFile(file, "utf8").catch((error: unknown) =>
    refuse(error instanceof Error ? error.message : String(error)),
  );
}

/** As a job writes it, with / on every system. */
function fromHere(path: string): string {
  const near = relative(".", resolve(path)) || ".";
  return (near.startsWith("..") ? resolve(path) : near).replaceAll("\\", "/");
}

/** A folder that is there counts whole: an array of an earlier matrix in it would be submitted too. */
async function refuseOverwriting(files: readonly EmittedFile[], dir: string, at: string): Promise<void> {
  const places = new Set(
    files.map(({ name }) => join(dir, name.startsWith(".") ? name : (name.split("/")[0] ?? name))),
  );
  const there = await Promise.all(
    [...places].map(path =>
      stat(path).then(
        () => [path],
        () => [],
      ),
    ),
  );
  if (there.flat().length === 0) return;
  fail({
    code: "MTX017",
    at,
    what: `${there.flat().join(", ")} is there already`,
    why: "job files are adapted by hand; nothing is overwritten or mixed",
    fix: "--output OTHER_DIR, or move it away",
  });
}

/** Never over a file that appeared in the meantime. Errors: CKP009. */
async function writeNew(path: string, { text, executable = false }: EmittedFile): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text, { flag: "wx" });
    if (executable) await chmod(path, 0o755);
  } catch (error) {
    throw asOutputProblem(path, error);
  }
}
