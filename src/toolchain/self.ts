import { CODES, type Code, MmtrtError, type Problem } from "../diagnostics/index.ts";
import { quoteCommand } from "./quote.ts";
import { runTool } from "./spawn.ts";
import type { ToolEnvironment } from "./tensorrt/request.ts";

export interface SelfRun {
  /** How this program is started: the interpreter, its options, the program. */
  readonly program: readonly [string, ...string[]];
  /** The command and its flags, without --json. */
  readonly argv: readonly string[];
  readonly env: ToolEnvironment;
  readonly signal: AbortSignal;
  readonly logFile?: string;
  readonly onEvent?: (event: Readonly<Record<string, unknown>>) => void;
}

/**
 * Runs one of mmtrt's own commands as a process of its own and gives its result. Options of the environment (MMTRT_…) do
 * not reach it, and it ends when this process does. Errors: the command's own problems; MTX008 when it was ended before
 * it could say any. A bug in it is thrown as one.
 */
export async function runSelf(run: SelfRun): Promise<Readonly<Record<string, unknown>>> {
  const argv = [...run.program, ...run.argv, "--json"] as [string, ...string[]];
  const problems: Problem[] = [];
  let bug: string | undefined;
  let result: Readonly<Record<string, unknown>> | undefined;
  const end = await runTool({
    argv,
    env: run.env,
    signal: run.signal,
    endsWithParent: true,
    ...(run.logFile !== undefined && { logFile: run.logFile }),
    onLine(line, stream) {
      const event = stream === "stdout" ? readEvent(line) : undefined;
      if (event === undefined) return;
      if (event.event === "error" && isProblem(event)) problems.push(problemOf(event));
      else if (event.event === "bug") bug = String(event.stack);
      else if (event.event === "result") result = event;
      else run.onEvent?.(event);
    },
  });
  run.signal.throwIfAborted();
  if (problems.length > 0) throw new MmtrtError(problems);
  if (bug !== undefined) throw new Error(`in ${quoteCommand(argv)}: ${bug}`);
  if (end.why === "exit" && end.code === 0 && result !== undefined) return result;
  const how = end.signal === undefined ? `ended with exit code ${end.code}` : `was ended by ${end.signal}`;
  const last = end.tail.filter(line => line.trim() !== "" && !line.startsWith("{")).at(-1);
  throw new MmtrtError([
    {
      code: "MTX008",
      what: `mmtrt ${run.argv[0]} ${how} after ${end.seconds.toFixed(1)} s${last === undefined ? "" : `: ${last.slice(0, 300)}`}`,
      at: quoteCommand(argv),
      why:
        end.signal === "SIGKILL"
          ? "the kernel ends processes so when the machine is out of memory"
          : "it could not say why itself",
      fix: "run the command by hand; with fewer --workers if memory is short",
    },
  ]);
}

function readEvent(line: string): Readonly<Record<string, unknown>> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** `event` as a problem: of a warning too. */
export function problemOf(event: Readonly<Record<string, unknown>>): Problem {
  const text = (key: string): string => String(event[key] ?? "");
  return { code: event.code as Code, what: text("what"), at: text("at"), why: text("why"), fix: text("fix") };
}

export function isProblem(event: Readonly<Record<string, unknown>>): boolean {
  return typeof event.code === "string" && Object.hasOwn(CODES, event.code);
}
