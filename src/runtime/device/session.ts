import { fail, MmtrtError } from "../../diagnostics/index.ts";
import type { Header } from "../../toolchain/runner/frames.ts";
import { problemsOf, type RunnerProcess, startRunner } from "../../toolchain/runner/process.ts";
import type { ToolEnvironment } from "../../toolchain/tensorrt/request.ts";
import { DecoderLimits } from "../decoder-limits.ts";
import { checkEncoder } from "../encoder.ts";
import type { AnswerSession, DeviceMemory } from "../generation.ts";
import { pairTokens } from "../generation-config.ts";
import { openLoraBank } from "../lora/bank.ts";
import { openRunnable, type RunnableEngine } from "../runnable.ts";
import { adapterTensors, PLAIN_TENSORS } from "./adapters.ts";
import { followRequest, unexpected } from "./answers.ts";
import { type DeviceOptions, openMessage } from "./open-message.ts";
import { pixelTensor, requestMessage } from "./request-message.ts";
import { refuseUnmade } from "./unmade.ts";

/** Of native-plugins/runner/server.h. */
const PROTOCOL = 2;

export interface DeviceSessionOptions extends DeviceOptions {
  /** The native runner. */
  readonly runner: string;
  readonly env: ToolEnvironment;
  readonly loraDirs?: readonly string[] | undefined;
}

/** An engine directory in the native runner. */
export interface DeviceSession extends AnswerSession {
  /** Library, device and memory, as the runner found them. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/**
 * Opens an engine directory in a runner of its own process.
 * Errors: BLD002, BLD003, BLD006, RUN008, RUN019 for the directory; ENV024, RUN050 to RUN058; LRA… for adapters.
 */
export async function openDeviceSession(dir: string, options: DeviceSessionOptions): Promise<DeviceSession> {
  const engine = await openRunnable(dir, { bfloat16: options.device === "cuda" });
  refuseUnmade(engine);
  const startToken = (await pairTokens(engine))?.start;
  const opening = openMessage(engine, options, startToken);
  const runner = await startRunner({ file: options.runner, env: options.env });
  try {
    const hello = await runner.receive();
    if (hello.kind !== "hello" || hello.protocol !== PROTOCOL) otherProtocol(options.runner, hello.protocol);
    await runner.send(opening);
    const { kind: _, ...ready } = await answered(runner, "ready");
    const facts = { pid: hello.pid, version: hello.version, ...ready };
    const source = { engineDir: dir, dirs: options.loraDirs, at: "--lora_dir" };
    const bank = await openLoraBank(PLAIN_TENSORS, engine.llm, source);
    if (bank !== undefined) {
      await runner.send({ kind: "constants" }, adapterTensors(bank, engine.llm));
      await answered(runner, "kept");
    }
    return sessionOf(runner, engine, { facts, startToken, adapters: bank?.names });
  } catch (error) {
    await runner.close();
    throw error;
  }
}

interface Opened {
  readonly facts: DeviceMemory;
  readonly startToken: number | undefined;
  readonly adapters: readonly string[] | undefined;
}

function sessionOf(runner: RunnerProcess, engine: RunnableEngine, opened: Opened): DeviceSession {
  const { facts, startToken, adapters } = opened;
  const limits = new DecoderLimits(engine.llm);
  const isPair = startToken !== undefined;
  let requests = 0;
  return {
    engine,
    facts,
    reuse: undefined,
    adapters,
    ...(isPair && { startToken }),
    check(size, at) {
      if (isPair) checkEncoder(engine, size, at);
      limits.check(isPair ? { ...size, promptTokens: 1, tableRows: 0 } : size, at);
    },
    longestAnswer: promptTokens => limits.longestAnswer(isPair ? 1 : promptTokens),
    async generate(request) {
      const id = ++requests;
      await runner.send(requestMessage(id, request), pixelTensor(engine, request));
      return followRequest(runner, id, request);
    },
    close: () => runner.close(),
  };
}

/** The answer to what was just sent. */
async function answered(runner: RunnerProcess, kind: string): Promise<Header> {
  const message = await runner.receive();
  if (message.kind === "problem") throw new MmtrtError(problemsOf(message));
  return message.kind === kind ? message : unexpected(message);
}

function otherProtocol(file: string, protocol: unknown): never {
  return fail({
    code: "RUN050",
    what: `${file} speaks protocol ${JSON.stringify(protocol ?? null)}; this mmtrt speaks ${PROTOCOL}`,
    at: "--runner",
    why: "it was built by another version of mmtrt",
    fix: "run `mmtrt plugins build` again with this version of mmtrt",
  });
}
