import { delimiter, join } from "node:path";
import { parseTrtexecVersion } from "../machine.ts";
import { which } from "../probe.ts";
import { runTool } from "../spawn.ts";
import { driverFile } from "./driver-file.ts";
import type { TensorRTBackend, ToolEnvironment } from "./request.ts";

/** Both answer in well under a second; the first import of a cold 230 MB library takes several. */
const PROBE_SECONDS = 120;
/** Where NVIDIA's Debian packages put trtexec. */
const DEBIAN_BIN = "/usr/src/tensorrt/bin";

export interface FoundTool {
  readonly builder: "trtexec" | "tensorrt_rtx";
  readonly file: string;
  readonly version: string | undefined;
}

export interface FoundGpu {
  readonly name: string;
  readonly sm: number;
  readonly bytes: number;
}

export interface FoundPython {
  readonly builder: "python";
  /** The interpreter. */
  readonly file: string;
  /** tensorrt, tensorrt_rtx or tensorrt_rtx_bindings. */
  readonly module: string;
  readonly version: string;
  readonly rtx: boolean;
  /** Compute capabilities that can be named; empty for enterprise TensorRT. */
  readonly sms: readonly number[];
  readonly gpus: readonly FoundGpu[];
}

export type FoundBuilder = FoundTool | FoundPython;

export interface Search {
  readonly found: readonly FoundBuilder[];
  /** What was looked at in vain, one line each. */
  readonly tried: readonly string[];
}

export interface SearchOptions {
  readonly env: ToolEnvironment;
  /** `--python`: the one interpreter to ask. */
  readonly python?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The command line tool of a backend: TENSORRT_ROOT/bin first, then PATH. */
export async function findTool(backend: TensorRTBackend, { env, signal }: SearchOptions): Promise<Search> {
  const builder = backend === "tensorrt" ? "trtexec" : "tensorrt_rtx";
  const name = process.platform === "win32" ? `${builder}.exe` : builder;
  const roots = [env.TENSORRT_ROOT, backend === "tensorrt_rtx" ? env.TENSORRT_RTX_ROOT : undefined];
  const folders = roots.flatMap(root => (root ? [join(root, "bin")] : []));
  const file = await which(name, [...folders, env.PATH ?? "", DEBIAN_BIN].join(delimiter));
  if (file === undefined) return { found: [], tried: [`${name} is not in ${[...folders, "PATH"].join(" or ")}`] };
  return { found: [{ builder, file, version: await toolVersion(file, env, signal) }], tried: [] };
}

/** From the banner that --help begins with; undefined when the program does not start, which the build then reports. */
async function toolVersion(
  file: string,
  env: ToolEnvironment,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  let version: string | undefined;
  const onLine = (line: string): void => {
    version ??= parseTrtexecVersion({ stdout: line, stderr: "" });
  };
  const run = {
    argv: [file, "--help"] as const,
    env,
    timeLimitSeconds: PROBE_SECONDS,
    onLine,
    ...(signal && { signal }),
  };
  await runTool(run).catch(() => undefined);
  return version;
}

/** The first interpreter whose bindings import: --python alone, or VIRTUAL_ENV, python3, python. */
export async function findPython(
  backend: TensorRTBackend | "auto",
  { env, python, signal }: SearchOptions,
): Promise<Search> {
  const tried: string[] = [];
  for (const file of await interpreters(env, python)) {
    const asked = await askPython(file, backend, env, signal);
    if (typeof asked !== "string") return { found: [asked], tried };
    tried.push(`${file}: ${asked}`);
  }
  return { found: [], tried: tried.length > 0 ? tried : ["python3 is not in VIRTUAL_ENV or PATH"] };
}

async function interpreters(env: ToolEnvironment, python: string | undefined): Promise<readonly string[]> {
  if (python !== undefined) return [python];
  const windows = process.platform === "win32";
  const venv = env.VIRTUAL_ENV ? join(env.VIRTUAL_ENV, windows ? "Scripts" : "bin") : "";
  const path = [venv, env.PATH ?? ""].join(delimiter);
  const files = await Promise.all((windows ? ["python.exe"] : ["python3", "python"]).map(name => which(name, path)));
  return [...new Set(files.filter(file => file !== undefined))];
}

/** What the interpreter can import, or why it cannot. */
async function askPython(
  file: string,
  backend: TensorRTBackend | "auto",
  env: ToolEnvironment,
  signal: AbortSignal | undefined,
): Promise<FoundPython | string> {
  let answer: FoundPython | string = "did not answer";
  const end = await runTool({
    argv: [file, "-B", driverFile(), "--version", "--module", backend],
    env,
    timeLimitSeconds: PROBE_SECONDS,
    ...(signal === undefined ? {} : { signal }),
    onLine(line) {
      const event = parseEvent(line);
      if (event?.event === "start") answer = foundPython(file, event);
      else if (event?.event === "error") answer = firstProblem(event);
    },
  }).catch((error: Error) => error.message);
  if (typeof end === "string") return end;
  if (typeof answer === "string" && answer === "did not answer")
    return end.tail.at(-1) ?? `ended with exit code ${end.code}`;
  return answer;
}

/** One NDJSON line of the driver; undefined for anything else that Python prints. */
export function parseEvent(line: string): Readonly<Record<string, unknown>> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && "event" in value
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function foundPython(file: string, event: Readonly<Record<string, unknown>>): FoundPython {
  return {
    builder: "python",
    file,
    module: String(event.module),
    version: String(event.version),
    rtx: event.rtx === true,
    sms: (event.sms as number[] | undefined) ?? [],
    gpus: (event.gpus as FoundGpu[] | undefined) ?? [],
  };
}

function firstProblem(event: Readonly<Record<string, unknown>>): string {
  const [problem] = (event.problems as { what?: string }[] | undefined) ?? [];
  return problem?.what ?? "the driver failed";
}
