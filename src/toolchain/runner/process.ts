import type { Readable, Writable } from "node:stream";
import { execa } from "execa";
import { fail, MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { Inbox } from "../inbox.ts";
import { endsWithParent } from "../parent-death.ts";
import { allowedEnvironment } from "../spawn.ts";
import type { ToolEnvironment } from "../tensorrt/request.ts";
import { encodeFrame, FrameParser, type Header, type SentTensor } from "./frames.ts";

/** Lines of the runner's standard error that are kept for telling why it ended. */
const TAIL_LINES = 20;
/** After its input is closed the runner ends by itself; then SIGKILL. */
const GRACE_MS = 4000;

export interface RunnerStart {
  readonly file: string;
  readonly env: ToolEnvironment;
}

/** A native runner in a process of its own, and what it says. */
export interface RunnerProcess {
  /** Throws RUN051 once the runner has ended. */
  send(header: Header, tensors?: readonly SentTensor[]): Promise<void>;
  /** The next message. Throws RUN050, RUN051, and the problems of a message that ends the conversation. */
  receive(): Promise<Header>;
  /** Closes its input and waits for its end. */
  close(): Promise<void>;
}

/** Starts a runner; its first message is still to be received. Throws ENV024 when it cannot be started. */
export async function startRunner({ file, env }: RunnerStart): Promise<RunnerProcess> {
  const argv = [...(await endsWithParent()), file];
  const child = execa(argv[0] as string, argv.slice(1), {
    env: allowedEnvironment(env),
    extendEnv: false,
    buffer: false,
    reject: false,
    stdin: "pipe",
    encoding: "buffer",
  });
  const inbox = new Inbox<Header>();
  const tail: string[] = [];
  keepTail(child.stderr as Readable, tail);
  readInto(child.stdout as Readable, inbox);
  // Why a write failed is told by how the runner ended.
  (child.stdin as Writable).on("error", () => undefined);
  const ended = child.then(({ exitCode, signal, code }) => {
    inbox.end(endProblem(file, { exitCode, signal, code, tail }));
  });
  return {
    async send(header, tensors = []) {
      for (const piece of encodeFrame(header, tensors)) await write(child.stdin as Writable, piece, ended);
    },
    receive: () => inbox.next(),
    async close() {
      (child.stdin as Writable).end();
      const timer = setTimeout(() => child.kill("SIGKILL"), GRACE_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

function readInto(stream: Readable, inbox: Inbox<Header>): void {
  const parser = new FrameParser();
  stream.on("data", (chunk: Uint8Array) => {
    try {
      for (const header of parser.push(chunk)) {
        if (header.kind === "problem" && header.fatal === true) inbox.end(new MmtrtError(problemsOf(header)));
        else inbox.push(header);
      }
    } catch (error) {
      inbox.end(error);
      stream.destroy();
    }
  });
}

function keepTail(stream: Readable, tail: string[]): void {
  let rest = "";
  stream.on("data", (chunk: Uint8Array) => {
    const lines = (rest + Buffer.from(chunk).toString("utf8")).split("\n");
    rest = (lines.pop() ?? "").slice(-4000);
    tail.push(...lines.filter(line => line.trim() !== ""));
    tail.splice(0, tail.length - TAIL_LINES);
  });
}

/** Codes of problems that the runner itself finds. */
const RUNNER_CODES = [
  "RUN010",
  "RUN050",
  "RUN052",
  "RUN053",
  "RUN054",
  "RUN056",
  "RUN057",
  "RUN058",
  "RUN059",
  "NUM001",
];

/** The problems of a message, each with all its parts. Throws RUN050. */
export function problemsOf(header: Header): readonly Problem[] {
  const list = Array.isArray(header.problems) ? (header.problems as readonly Record<string, unknown>[]) : [];
  const known = list.flatMap(one => {
    const [code, what, at, why, fix] = ["code", "what", "at", "why", "fix"].map(key => one?.[key]);
    const texts = [what, at, why, fix].every(text => typeof text === "string" && text !== "");
    const whole = texts && RUNNER_CODES.includes(code as string);
    return whole ? [{ code, what, at, why, fix } as Problem] : [];
  });
  if (known.length > 0) return known;
  return fail({
    code: "RUN050",
    what: "the runner reports a problem without saying which",
    at: "the runner's standard output",
    why: "a problem has a code, what, at, why and fix",
    fix: "run `mmtrt plugins build` again with this version of mmtrt",
  });
}

async function write(stream: Writable, bytes: Uint8Array, ended: Promise<unknown>): Promise<void> {
  if (stream.destroyed || stream.write(bytes)) return;
  await Promise.race([new Promise<void>(resolve => stream.once("drain", () => resolve())), ended]);
}

interface RunnerEnd {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly code: string | undefined;
  readonly tail: readonly string[];
}

function endProblem(file: string, { exitCode, signal, code, tail }: RunnerEnd): MmtrtError {
  if (exitCode === undefined && signal === undefined)
    return new MmtrtError([
      {
        code: "ENV024",
        what: `${file} cannot be started: ${code ?? "no reason given"}`,
        at: file,
        why: "it is missing, not executable, or for another platform",
        fix: "check the path and its permissions, or run `mmtrt plugins build`",
      },
    ]);
  const last = tail.at(-1);
  const how = signal === undefined ? `with exit code ${exitCode}` : `by ${signal}`;
  return new MmtrtError([
    {
      code: "RUN051",
      what: `the runner ended ${how} before it had answered${last === undefined ? "" : `: ${last.slice(0, 500)}`}`,
      at: file,
      why:
        signal === "SIGKILL"
          ? "the kernel ends processes so when the machine is out of memory"
          : "it crashed inside a library, the driver or a kernel, or was ended from outside",
      fix:
        signal === "SIGKILL"
          ? "lower --batch_size or --num_beams, or run on a machine with more memory"
          : "run it again; on the CPU (--device cpu, without --runner) to see whether the engine is right",
    },
  ]);
}
