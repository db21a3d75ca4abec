import { MmtrtError, throwIfAny } from "../diagnostics/index.ts";
import { buildEngine } from "../toolchain/tensorrt/builders.ts";
import type { EngineEvent, EngineReport, EngineRequest, ToolEnvironment } from "../toolchain/tensorrt/request.ts";
import { engineProblems } from "./engine-check.ts";
import { EventQueue } from "./event-queue.ts";
import type { BuildEvent } from "./events.ts";
import type { BuilderAtHand } from "./find-builder.ts";
import type { EnginePlan, Step } from "./plan.ts";
import { sideBySide } from "./side-by-side.ts";
import { placedIn } from "./steps.ts";

/** One engine to build, with the step that it is. */
export interface EngineJob {
  readonly step: Step;
  readonly engine: EnginePlan;
  readonly request: EngineRequest;
  /** Absolute. */
  readonly log: string;
  /** Bytes of host memory that its builder is predicted to take. */
  readonly memory?: number;
}

export interface EngineWork {
  readonly jobs: readonly EngineJob[];
  /** Engines at the same time. */
  readonly workers: number;
  /** Bytes that builders may take together; absent: as many as there are workers. */
  readonly memoryLimit?: number | undefined;
  /** Where the directory is written. */
  readonly stage: string;
  readonly builder: BuilderAtHand | null;
  readonly env: ToolEnvironment;
  readonly signal: AbortSignal;
}

/**
 * Builds engines side by side. The first failure stops the others, and all failures that are no consequence of it are
 * thrown together. When the reader of events walks away, every builder is ended before this returns.
 */
export async function* buildEngines(work: EngineWork): AsyncGenerator<BuildEvent, ReadonlyMap<string, EngineReport>> {
  const queue = new EventQueue<BuildEvent>();
  const stop = new AbortController();
  const signal = AbortSignal.any([work.signal, stop.signal]);
  const reports = new Map<string, EngineReport>();
  const failures: unknown[] = [];
  const build = async (job: EngineJob, slot: number): Promise<void> => {
    const env = slotEnvironment(work, slot);
    try {
      reports.set(job.engine.name, await buildOne(work, job, { env, signal, show: event => queue.push(event) }));
    } catch (error) {
      failures.push(error);
      stop.abort();
    }
  };
  const sharing = { workers: work.workers, budget: work.memoryLimit ?? Number.POSITIVE_INFINITY };
  const memoryOf = ({ memory = 0 }: EngineJob): number => memory;
  const all = sideBySide(work.jobs, sharing, memoryOf, build, () => signal.aborted).finally(() => queue.close());
  try {
    yield* queue;
  } finally {
    stop.abort();
    await all;
  }
  work.signal.throwIfAborted();
  throwCauses(failures);
  return reports;
}

interface Doing {
  readonly env: ToolEnvironment;
  readonly signal: AbortSignal;
  show(event: BuildEvent): void;
}

async function buildOne(work: EngineWork, job: EngineJob, { env, signal, show }: Doing): Promise<EngineReport> {
  const { step, engine, request, log } = job;
  const id = step.id;
  const progress = progressOf(id, show);
  show({ event: "step", id, state: "start" });
  const report = await buildEngine(placedIn(work.stage, request), {
    env,
    signal,
    logFile: log,
    ...(work.builder !== null && { found: work.builder.found }),
    onEvent: event => showEvent(id, event, progress, show),
  });
  throwIfAny(engineProblems(engine, report));
  progress(100);
  show({ event: "step", id, state: "done", seconds: report.seconds });
  return report;
}

function showEvent(
  id: string,
  event: EngineEvent,
  progress: (percent: number) => void,
  show: (event: BuildEvent) => void,
): void {
  switch (event.event) {
    case "start":
      show({ event: "builder", id, builder: event.builder, version: event.version ?? null, argv: event.argv });
      return;
    case "progress":
      progress(Math.min(99, event.percent));
      return;
    case "warning":
      show({ event: "warning", problem: event.problem });
      return;
    case "log":
      if (event.severity !== "info" && event.severity !== "verbose")
        show({ event: "log", id, severity: event.severity, text: event.text });
  }
}

/** Whole percents, each shown once and never backwards: TensorRT counts its phases anew now and then. */
function progressOf(id: string, show: (event: BuildEvent) => void): (percent: number) => void {
  let last = -1;
  return percent => {
    const done = Math.floor(percent);
    if (done <= last) return;
    last = done;
    show({ event: "progress", id, label: id, done, total: 100, unit: "%" });
  };
}

/** TensorRT times kernels, so two builds on one GPU would disturb each other: each worker has a GPU of its own. */
function slotEnvironment({ workers, builder, env, jobs }: EngineWork, slot: number): ToolEnvironment {
  const isTimed = builder?.found.builder === "trtexec" || (builder?.found.builder === "python" && !builder.found.rtx);
  if (!isTimed || Math.min(workers, jobs.length) < 2) return env;
  const visible = env.CUDA_VISIBLE_DEVICES?.split(",") ?? (builder?.gpus ?? []).map((_, index) => String(index));
  const own = visible[slot % Math.max(1, visible.length)];
  return own === undefined ? env : { ...env, CUDA_VISIBLE_DEVICES: own };
}

/** Cancelled builds are a consequence of the one that failed. */
function throwCauses(failures: readonly unknown[]): void {
  const bug = failures.find(error => !(error instanceof MmtrtError));
  if (bug !== undefined) throw bug;
  const problems = failures.flatMap(error => (error as MmtrtError).problems);
  const causes = problems.filter(problem => problem.code !== "TRT008");
  throwIfAny(causes.length > 0 ? causes : problems);
}
