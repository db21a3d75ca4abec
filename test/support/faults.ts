import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FaultJob, MATRIX, TOOL_SETTINGS } from "./fault-jobs.ts";
import { program } from "./rig.ts";
import { ROOT } from "./sources.ts";

export interface Fault {
  readonly at: number;
  readonly how: string;
}

export const HOWS: readonly string[] = [
  "ENOSPC",
  "EROFS",
  "EIO",
  "EINTR",
  "EMFILE",
  "EACCES",
  "SHORT",
  "KILL",
  "TERM",
  "INT",
  "TWICE",
  "CLOCK",
];

interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

/** The library that makes calls fail, built beside nothing else; undefined without a C compiler or outside Linux. */
export function buildShim(dir: string): string | undefined {
  const library = join(dir, "libfaults.so");
  if (process.platform !== "linux") return undefined;
  try {
    execFileSync("cc", ["-shared", "-fPIC", "-O1", "-o", library, join(ROOT, "test/faults/faults.c"), "-ldl"], {
      stdio: "ignore",
    });
    return library;
  } catch {
    return undefined;
  }
}

/** One job in a directory that is laid out once, and put back before each fault. */
export class FaultRig {
  readonly job: FaultJob;
  /** Calls that can fail in a run without faults. */
  readonly calls: number;
  readonly #root: string;
  readonly #shim: string;
  readonly #old: string | undefined;
  readonly #whole: string;
  readonly #env: Readonly<Record<string, string>>;

  static async open(job: FaultJob, shim: string): Promise<FaultRig> {
    const root = realpathSync(mkdtempSync(join(tmpdir(), "mmtrt-faults-")));
    const dir = join(root, "start");
    mkdirSync(dir);
    for (const [name, from] of Object.entries(job.inputs)) cpSync(from, join(dir, name), { recursive: true });
    writeFileSync(join(dir, "matrix.yaml"), MATRIX);
    for (const argv of job.before ?? []) await mustSucceed(argv, dir);
    mkdirSync(join(root, "tools"));
    const env = job.tools?.(join(root, "tools")) ?? {};
    return new FaultRig(job, shim, root, env, await wholeRun(job, shim, root, env));
  }

  private constructor(
    job: FaultJob,
    shim: string,
    root: string,
    env: Readonly<Record<string, string>>,
    { calls, whole, old }: Whole,
  ) {
    this.#root = root;
    this.#env = env;
    this.#shim = shim;
    this.job = job;
    this.calls = calls;
    this.#whole = whole;
    this.#old = old;
  }

  /** What went wrong with one fault, in words; undefined when the old or the new result is there and nothing else. */
  async survive(fault: Fault): Promise<string | undefined> {
    const dir = fresh(this.#root);
    const end = await withShim(this.job, this.#root, this.#env, {
      LD_PRELOAD: this.#shim,
      FAULT_DIR: dir,
      FAULT_ON: "all",
      FAULT_AT: String(fault.at),
      FAULT_HOW: fault.how,
    });
    const state = hashOf(join(dir, this.job.output));
    const wrong = this.#verdict(end, state) ?? this.#leftovers(dir, end);
    if (wrong !== undefined) return `${wrong}\n${end.output}`;
    if (this.job.once && state === this.#whole) return undefined;
    const again = await start(this.job.argv, dir, this.#env);
    if (again.code !== 0)
      return `the next run ended with ${again.code ?? again.signal}\n${end.output}\n${again.output}`;
    if (hashOf(join(dir, this.job.output)) !== this.#whole) return `the next run wrote something else\n${again.output}`;
    const left = this.#strays(dir);
    return left.length === 0 ? undefined : `the next run left ${left.join(", ")}`;
  }

  close(): void {
    rmSync(this.#root, { recursive: true, force: true });
  }

  #verdict({ code, signal }: End, state: string | undefined): string | undefined {
    // A signal between the last word and the end of the process finds nobody who listens, and nothing left to do.
    const late = signal !== null && state === this.#whole;
    if (code === 70 || (signal !== null && signal !== "SIGKILL" && !late)) return `it ended with ${code ?? signal}`;
    if (code === 0 && state !== this.#whole) return "it said that it had succeeded, and the result is another";
    // Killed between the two renames that put a new directory in the place of an old one, it leaves both beside the name.
    if (state === undefined && signal === "SIGKILL") return undefined;
    return state === this.#whole || state === this.#old
      ? undefined
      : "what it left is neither the old result nor the new one";
  }

  #leftovers(dir: string, { signal, code }: End): string | undefined {
    // What a killed process leaves, the next run clears; an interrupted conversion keeps finished files to go on from.
    if (signal === "SIGKILL" || code === 130 || code === 143) return undefined;
    // Of a build that took another's place, what could not be removed is left to the next one.
    const left = this.#strays(dir).filter(name => code !== 0 || !/\.old-\d+$/.test(name));
    return left.length === 0 ? undefined : `it left ${left.join(", ")}`;
  }

  #strays(dir: string): string[] {
    const own = new Set([...readdirSync(join(this.#root, "start")), this.job.output]);
    const above = readdirSync(dir).filter(name => !own.has(name) && this.job.leaves?.test(name) !== true);
    const inside = readdirSync(dir, { recursive: true }).map(String);
    return [
      ...above,
      ...inside.filter(name => /\.partial(\.\d+-.*)?$|\.old-\d+$|\.tmp$/.test(name) && !above.includes(name)),
    ];
  }
}

interface Whole {
  readonly calls: number;
  readonly whole: string;
  readonly old: string | undefined;
}

async function wholeRun(
  job: FaultJob,
  shim: string,
  root: string,
  env: Readonly<Record<string, string>>,
): Promise<Whole> {
  const dir = fresh(root);
  const old = hashOf(join(dir, job.output));
  const count = join(root, "count");
  const settings = { LD_PRELOAD: shim, FAULT_DIR: dir, FAULT_ON: "all", FAULT_COUNT: count };
  const { code, output } = await withShim(job, root, env, settings);
  if (code !== 0) throw new Error(`mmtrt ${job.argv.join(" ")} ended with ${code}:\n${output}`);
  const whole = hashOf(join(dir, job.output));
  if (whole === undefined) throw new Error(`${job.name} wrote nothing`);
  return { calls: Number(readFileSync(count, "utf8")), whole, old };
}

/** The start again, under the same path: it is in what is written. */
function fresh(root: string): string {
  const dir = join(root, "run");
  rmSync(dir, { recursive: true, force: true });
  cpSync(join(root, "start"), dir, { recursive: true, preserveTimestamps: true });
  return dir;
}

/** The job with the library of faults in it, or in the tools that it starts. */
async function withShim(
  { argv, inTool }: FaultJob,
  root: string,
  env: Readonly<Record<string, string>>,
  settings: Readonly<Record<string, string>>,
): Promise<End> {
  const dir = join(root, "run");
  if (!inTool) return start(argv, dir, { ...env, ...settings });
  const file = join(root, "tools", TOOL_SETTINGS);
  const lines = Object.entries(settings).map(([name, value]) => `export ${name}='${value}'`);
  writeFileSync(file, `${lines.join("\n")}\n`);
  try {
    return await start(argv, dir, env);
  } finally {
    rmSync(file);
  }
}

async function mustSucceed(argv: readonly string[], cwd: string): Promise<void> {
  const { code, output } = await start(argv, cwd, {});
  if (code !== 0) throw new Error(`mmtrt ${argv.join(" ")} ended with ${code}:\n${output}`);
}

function start(argv: readonly string[], cwd: string, env: Readonly<Record<string, string>>): Promise<End> {
  const child = spawn(process.execPath, [program(), ...argv], {
    cwd,
    // With io_uring the calls would not go through the C library.
    env: { PATH: process.env.PATH, HOME: cwd, HF_ENDPOINT: "http://127.0.0.1:9", UV_USE_IO_URING: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, output: output.slice(-3000) }));
  });
}

/** What a builder took is another number each time. */
function contentOf(file: string): Buffer | string {
  const bytes = readFileSync(file);
  if (!file.endsWith("/mmtrt.json")) return bytes;
  return bytes.toString("utf8").replaceAll(/"(seconds|peak_host_mib)": [^,\n]*/g, '"$1": null');
}

/** Of all names and bytes below a directory, less what names a time; undefined where there is none. */
function hashOf(dir: string): string | undefined {
  if (!existsSync(dir)) return undefined;
  if (statSync(dir).isFile()) return createHash("sha256").update(readFileSync(dir)).digest("hex");
  const hash = createHash("sha256");
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile());
  // A cell of a matrix is written beside its final name, inside the directory of all cells.
  const names = files
    .map(entry => join(entry.parentPath, entry.name))
    .filter(name => !/\.partial\//.test(name.slice(dir.length)))
    .sort();
  for (const name of names) hash.update(`${name.slice(dir.length)}\0`).update(contentOf(name));
  return names.length === 0 ? undefined : hash.digest("hex");
}
