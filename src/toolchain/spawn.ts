import { once } from "node:events";
import { createWriteStream, mkdirSync, type WriteStream } from "node:fs";
import { dirname } from "node:path";
import type { Readable } from "node:stream";
import { execa } from "execa";
import { fail, type Problem } from "../diagnostics/index.ts";
import { endsWithParent } from "./parent-death.ts";
import { quoteCommand } from "./quote.ts";
import type { ToolEnvironment } from "./tensorrt/request.ts";

/** After SIGTERM a tool may remove what it has half written; then SIGKILL. */
const GRACE_MS = 5000;
/** A process that the tool left behind may hold its output open. */
const DRAIN_MS = 2000;
/** TensorRT's longest real line, a verbose description of a 128-layer engine, is about 10 MB. */
const MAX_LINE = 32 << 20;
const TAIL_LINES = 200;

/** What a tool needs to find its libraries, its GPU and its temporary files; nothing else of the caller's environment. */
const ALLOWED =
  /^(PATH|HOME|USER|LANG|LC_.*|TZ|TMPDIR|TEMP|TMP|SystemRoot|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|CUDA_.*|NVIDIA_.*|TENSORRT_.*|TRT_.*|VIRTUAL_ENV|CONDA_PREFIX|PYTHONPATH|PYTHONHOME)$/i;

export interface ToolRun {
  readonly argv: readonly [string, ...string[]];
  readonly env: ToolEnvironment;
  readonly cwd?: string;
  /** Text for standard input, which is empty without it. */
  readonly input?: string;
  readonly signal?: AbortSignal;
  readonly timeLimitSeconds?: number;
  /** Receives every line of both outputs. */
  readonly logFile?: string;
  readonly onLine?: (line: string, stream: "stdout" | "stderr") => void;
  readonly graceMs?: number;
  /** Ends when this process is killed, where the system can see to that. For programs that do not see to it themselves. */
  readonly endsWithParent?: boolean;
}

export interface ToolEnd {
  readonly why: "exit" | "signal" | "cancelled" | "time_limit";
  readonly code: number | undefined;
  readonly signal: string | undefined;
  readonly seconds: number;
  /** The last lines of both outputs. */
  readonly tail: readonly string[];
}

/** Runs a program to its end, without a shell. Ends it with its whole process group on `signal` and at the time limit. Throws ENV024. */
export async function runTool(run: ToolRun): Promise<ToolEnd> {
  const started = performance.now();
  const log = run.logFile === undefined ? undefined : openLog(run.logFile);
  const before = run.endsWithParent ? await endsWithParent() : [];
  const [file = "", ...args] = [...before, ...run.argv];
  const child = execa(file, args, {
    env: allowedEnvironment(run.env),
    extendEnv: false,
    ...(run.cwd === undefined ? {} : { cwd: run.cwd }),
    ...(run.input === undefined ? { stdin: "ignore" } : { input: run.input }),
    buffer: false,
    reject: false,
    // A group of its own, so that helpers of the tool (compilers, forked workers) end with it.
    detached: process.platform !== "win32",
  });
  const stopper = stopOn(run, signal => killGroup(child.pid, signal));
  child.once("exit", () => setTimeout(() => [child.stdout.destroy(), child.stderr.destroy()], DRAIN_MS).unref());
  const tail: string[] = [];
  const take =
    (stream: "stdout" | "stderr") =>
    async (line: string): Promise<void> => {
      if (tail.push(line) > TAIL_LINES) tail.shift();
      if (log !== undefined && !log.write(`${line}\n`)) await once(log, "drain");
      run.onLine?.(line, stream);
    };
  try {
    const [result] = await Promise.all([
      child,
      eachLine(child.stdout, take("stdout")),
      eachLine(child.stderr, take("stderr")),
    ]);
    if (result.code !== undefined && result.exitCode === undefined && result.signal === undefined)
      notStarted(file, result.code);
    const why = stopper.why() ?? (result.signal === undefined ? "exit" : "signal");
    return { why, code: result.exitCode, signal: result.signal, seconds: (performance.now() - started) / 1000, tail };
  } finally {
    stopper.release();
    // A helper may have outlived the tool and its SIGTERM.
    if (stopper.why() !== undefined) killGroup(child.pid, "SIGKILL");
    await closeLog(log);
  }
}

export function allowedEnvironment(env: ToolEnvironment): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && ALLOWED.test(entry[0])),
  );
}

/** What to tell about an end that is no success, when nothing the tool printed says it better. */
export function endProblem(end: ToolEnd, argv: readonly string[], logFile: string | undefined): Problem {
  const at = quoteCommand(argv);
  const read = logFile === undefined ? "run the command by hand" : `read ${logFile}, or run the command by hand`;
  const after = `after ${end.seconds.toFixed(1)} s`;
  if (end.why === "cancelled")
    return {
      code: "TRT008",
      at,
      what: `the build was cancelled ${after}`,
      why: "it was asked to stop; no engine was written",
      fix: "run it again",
    };
  if (end.why === "time_limit")
    return {
      code: "TRT009",
      at,
      what: `the build was stopped ${after}, its time limit`,
      why: "how long a build takes depends on the graph, the optimization level and the machine",
      fix: "raise the time limit, or lower the optimization level",
    };
  if (end.why === "signal")
    return {
      code: "TRT011",
      at,
      what: `the builder was ended by ${end.signal} ${after}`,
      why:
        end.signal === "SIGKILL"
          ? "the kernel ends processes so when the machine is out of memory"
          : "the program crashed inside TensorRT, the driver or a plugin",
      fix:
        end.signal === "SIGKILL"
          ? "build fewer engines at once, or on a machine with more memory"
          : `${read}; without plugins, if there are any`,
    };
  const last = end.tail.filter(line => line.trim() !== "").at(-1);
  return {
    code: "TRT007",
    at,
    what: `the builder ended with exit code ${end.code}${last === undefined ? "" : `: ${last.slice(0, 500)}`}`,
    why: "none of its messages is one that mmtrt knows the cause of",
    fix: read,
  };
}

function notStarted(file: string, code: string): never {
  fail({
    code: "ENV024",
    what: `${file} cannot be started: ${code}`,
    at: file,
    why: "it is missing, not executable, or for another platform",
    fix: "check the path and its permissions",
  });
}

interface Stopper {
  why(): "cancelled" | "time_limit" | undefined;
  release(): void;
}

function stopOn(
  { signal, timeLimitSeconds, graceMs = GRACE_MS }: ToolRun,
  kill: (signal: NodeJS.Signals) => void,
): Stopper {
  let why: "cancelled" | "time_limit" | undefined;
  const timers: NodeJS.Timeout[] = [];
  const stop = (reason: "cancelled" | "time_limit"): void => {
    if (why !== undefined) return;
    why = reason;
    kill("SIGTERM");
    timers.push(setTimeout(() => kill("SIGKILL"), graceMs));
  };
  const cancel = (): void => stop("cancelled");
  // Node may end without a word to us (an uncaught error): the tool must not go on alone.
  const abandon = (): void => kill("SIGKILL");
  if (signal?.aborted) cancel();
  signal?.addEventListener("abort", cancel);
  process.once("exit", abandon);
  if (timeLimitSeconds !== undefined) timers.push(setTimeout(() => stop("time_limit"), timeLimitSeconds * 1000));
  return {
    why: () => why,
    release() {
      for (const timer of timers) clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      process.removeListener("exit", abandon);
    },
  };
}

function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(process.platform === "win32" ? pid : -pid, signal);
  } catch {
    // It has ended already.
  }
}

/** Calls `take` for each line, waiting for it, so that a slow disk slows the tool and not the memory. */
async function eachLine(stream: Readable, take: (line: string) => Promise<void>): Promise<void> {
  stream.setEncoding("utf8");
  let rest = "";
  try {
    for await (const chunk of stream) {
      const lines = (rest + (chunk as string)).split("\n");
      rest = (lines.pop() ?? "").slice(0, MAX_LINE);
      for (const line of lines) await take(line.endsWith("\r") ? line.slice(0, -1) : line);
    }
  } catch (error) {
    // Destroyed by us after the process ended: what it had written is read.
    if ((error as NodeJS.ErrnoException).code !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
  }
  if (rest !== "") await take(rest);
}

function openLog(file: string): WriteStream {
  mkdirSync(dirname(file), { recursive: true });
  const log = createWriteStream(file);
  // Reported when the log is closed; an unhandled "error" event would end the program with a stack.
  log.on("error", () => undefined);
  return log;
}

async function closeLog(log: WriteStream | undefined): Promise<void> {
  if (log === undefined || log.destroyed) return;
  log.end();
  await once(log, "close");
}
