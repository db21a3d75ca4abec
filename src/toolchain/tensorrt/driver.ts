import { type Code, MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { explain, findingProblem } from "../explain/index.ts";
import { endProblem, runTool, type ToolEnd } from "../spawn.ts";
import { driverFile } from "./driver-file.ts";
import { type FoundPython, parseEvent } from "./find.ts";
import type {
  BuildEngineOptions,
  EngineEvent,
  EngineProfile,
  EngineReport,
  EngineRequest,
  EngineTensor,
  IoSource,
  Severity,
} from "./request.ts";

/** The codes that the driver's own problems carry; anything else on its output is not a problem of ours. */
export const DRIVER_CODES: readonly Code[] = [
  "TRT001",
  "TRT002",
  "TRT003",
  "TRT004",
  "TRT005",
  "TRT009",
  "TRT010",
  "TRT012",
  "TRT013",
  "TRT014",
  "ENV021",
  "ENV022",
  "ENV023",
];

/** The command line and its standard input. -B: no bytecode is left in the package's folder. */
export function driverCommand(
  request: EngineRequest,
  python: string,
): { readonly argv: [string, ...string[]]; readonly input: string } {
  return {
    argv: [python, "-B", driverFile(), "--module", request.backend],
    input: JSON.stringify(driverRequest(request)),
  };
}

/** The request in the driver's keys (native-plugins/driver/README.md). */
function driverRequest(request: EngineRequest): Readonly<Record<string, unknown>> {
  const given: Record<string, unknown> = {
    onnx: request.onnx,
    engine: request.engine,
    profiles: request.profiles.map(({ name, shapes }) => ({ name, shapes })),
    compute_capabilities: request.computeCapabilities,
    optimization_level: request.optimizationLevel,
    workspace_mib: request.workspaceMiB,
    timing_cache: request.timingCache,
    profiling_verbosity: request.profilingVerbosity,
    weight_streaming: request.weightStreaming,
    refit: request.refit,
    strip_weights: request.stripWeights,
    version_compatible: request.versionCompatible,
    plugins: request.plugins,
    aliased_plugin_io: request.aliasedPluginIo,
    time_limit_seconds: request.timeLimitSeconds,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** Runs the driver. Throws what it refused, or what its messages mean. The engine is in place when it returns. */
export async function runDriver(
  request: EngineRequest,
  python: FoundPython,
  options: BuildEngineOptions,
): Promise<Omit<EngineReport, "seconds">> {
  const { argv } = driverCommand(request, python.file);
  const reader = new DriverReader(options.onEvent ?? (() => undefined));
  options.onEvent?.({ event: "start", builder: "python", version: python.version, argv });
  const end = await runTool({
    argv,
    // Told at the start and not in the plan: a build must not outlive whoever reads its events.
    input: JSON.stringify({ ...driverRequest(request), parent_pid: process.pid }),
    env: options.env,
    onLine: (line, stream) => reader.read(line, stream),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.logFile === undefined ? {} : { logFile: options.logFile }),
    // The driver ends itself first and says so; this is for one that hangs.
    ...(request.timeLimitSeconds === undefined ? {} : { timeLimitSeconds: request.timeLimitSeconds + 10 }),
  });
  const report = reader.report;
  if (end.why !== "exit" || end.code !== 0 || report === undefined)
    throw new MmtrtError(reader.problems(request, end, argv, options.logFile));
  return { ...report, builder: "python", argv, logFile: options.logFile };
}

type DriverReport = Omit<EngineReport, "seconds" | "builder" | "argv" | "logFile">;

/** Turns the driver's lines into events, its last one into the report or the failure. */
export class DriverReader {
  readonly #show: (event: EngineEvent) => void;
  readonly #raw: string[] = [];
  #report: DriverReport | undefined;
  #failure: Readonly<Record<string, unknown>> | undefined;

  constructor(show: (event: EngineEvent) => void) {
    this.#show = show;
  }

  get report(): DriverReport | undefined {
    return this.#report;
  }

  read(line: string, stream: "stdout" | "stderr"): void {
    const event = stream === "stdout" ? parseEvent(line) : undefined;
    if (event === undefined) {
      // What TensorRT's libraries and Python print by themselves.
      if (this.#raw.length < 1000) this.#raw.push(line);
      this.#show({ event: "log", severity: "info", text: line });
    } else if (event.event === "log") {
      this.#show({ event: "log", severity: event.severity as Severity, text: String(event.text) });
    } else if (event.event === "progress") {
      const { phase, parent, step, steps, percent } = event;
      this.#show({
        event: "progress",
        phase: String(phase),
        parent: typeof parent === "string" ? parent : undefined,
        step: Number(step),
        steps: Number(steps),
        percent: Number(percent),
      });
    } else if (event.event === "warning") {
      for (const problem of knownProblems([event.problem])) this.#show({ event: "warning", problem });
    } else if (event.event === "engine") {
      this.#report = readReport(event);
    } else if (event.event === "error") {
      this.#failure = event;
    }
  }

  /** Never empty: the driver's own problems, else what TensorRT's messages mean, else how the process ended. */
  problems(
    request: EngineRequest,
    end: ToolEnd,
    argv: readonly string[],
    logFile: string | undefined,
  ): readonly Problem[] {
    if (end.why === "cancelled") return [endProblem(end, argv, logFile)];
    const refused = knownProblems((this.#failure?.problems as unknown[] | undefined) ?? []);
    if (refused.length > 0) return refused;
    const findings = explain(this.#messages().join("\n"), {
      profiles: request.profiles,
      ...(request.inputs === undefined ? {} : { io: request.inputs }),
    });
    const causes = findings.filter(finding => finding.kind === "cause");
    if (causes.length > 0) return causes.map(finding => findingProblem(finding, this.#place(request)));
    return [endProblem({ ...end, tail: this.#messages() }, argv, logFile)];
  }

  #messages(): readonly string[] {
    const messages = (this.#failure?.messages as { readonly text?: unknown }[] | undefined) ?? [];
    return [...this.#raw, ...messages.map(message => String(message.text))];
  }

  /** The node the parser stopped at, where there is one. */
  #place(request: EngineRequest): string {
    const [error] = (this.#failure?.parser as { readonly node?: string; readonly op?: string }[] | undefined) ?? [];
    return error?.node ? `${request.onnx}: node ${error.node} (${error.op})` : request.onnx;
  }
}

/** Problems from another program: only codes it may use, only text. */
function knownProblems(given: readonly unknown[]): readonly Problem[] {
  return given.flatMap(value => {
    const { code, what, at, why, fix } = (value ?? {}) as Partial<Record<keyof Problem, unknown>>;
    if (![code, what, at, why, fix].every(text => typeof text === "string")) return [];
    const known = DRIVER_CODES.find(own => own === code);
    return known === undefined
      ? []
      : [{ code: known, what: what as string, at: at as string, why: why as string, fix: fix as string }];
  });
}

function readReport(event: Readonly<Record<string, unknown>>): DriverReport {
  const {
    file,
    bytes,
    version,
    io,
    profiles,
    layers,
    engine_layers,
    sms,
    memory_bytes,
    peak_host_mib,
    seconds,
    warnings,
  } = event as {
    readonly [key: string]: unknown;
    readonly io: { readonly from: IoSource; readonly tensors: readonly EngineTensor[] };
  };
  return {
    file: file as string,
    bytes: bytes as number,
    version: version as string,
    stageSeconds: seconds as { readonly parse: number; readonly build: number; readonly write: number },
    io,
    profiles: profiles as readonly EngineProfile[],
    layers: layers as Record<string, number>,
    engineLayers: engine_layers as Record<string, number>,
    sms: sms as readonly number[],
    memoryBytes: memory_bytes as { readonly weights: number; readonly activation: number },
    peakHostMiB: (peak_host_mib as number | null) ?? undefined,
    warnings: warnings as readonly string[],
  };
}
