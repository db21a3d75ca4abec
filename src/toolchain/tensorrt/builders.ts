import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { fail, MmtrtError, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { explain, findingProblem } from "../explain/index.ts";
import { endProblem, runTool, type ToolEnd } from "../spawn.ts";
import { profileProblems } from "./check-profiles.ts";
import { driverCommand, runDriver } from "./driver.ts";
import { type FoundBuilder, type FoundTool, findPython, findTool, type Search } from "./find.ts";
import { readPlanHeader } from "./plan-header.ts";
import type { BuildEngineOptions, Builder, EngineReport, EngineRequest, ToolEnvironment } from "./request.ts";
import { targetProblems } from "./target-limits.ts";
import { nameProblems, partialName, trtexecArgv } from "./trtexec-argv.ts";
import { flagProblems, pythonFlagProblems } from "./trtexec-flags.ts";
import { TrtexecReader } from "./trtexec-progress.ts";

/** What would be run, with the tool's bare name where it was not looked for: pure, for --plan. */
export function planEngineCommand(
  request: EngineRequest,
  found?: FoundBuilder,
): { readonly argv: readonly string[]; readonly input?: string } {
  const builder = found?.builder ?? plannedBuilder(request);
  if (builder === "python") return driverCommand(request, found?.file ?? request.python ?? "python3");
  return { argv: trtexecArgv(request, { builder, file: found?.file ?? builder }) };
}

function plannedBuilder({ backend, builder }: EngineRequest): Builder {
  if (builder !== "auto") return builder;
  return backend === "tensorrt" ? "trtexec" : "tensorrt_rtx";
}

type BuilderWanted = Pick<EngineRequest, "backend" | "builder" | "python" | "trtexecFlags">;

/** The builder that `--builder` asks for, or with auto the command line tool before Python. Throws ENV020 when there is none. */
export async function chooseBuilder(
  request: BuilderWanted,
  env: ToolEnvironment,
  signal?: AbortSignal,
): Promise<FoundBuilder> {
  const { backend, builder, python } = request;
  // Flags for trtexec need trtexec; a named interpreter means Python.
  const wantsTool = builder === "trtexec" || builder === "tensorrt_rtx" || (builder === "auto" && python === undefined);
  const hasFlags = (request.trtexecFlags ?? []).length > 0;
  const wantsPython = builder === "python" || (builder === "auto" && (python !== undefined || !hasFlags));
  if (builder !== "auto" && builder !== "python" && (builder === "trtexec") !== (backend === "tensorrt"))
    refuseBuilder(request);
  const searches: Search[] = [];
  if (wantsTool) searches.push(await findTool(backend, { env, signal }));
  if (wantsPython && searches.every(search => search.found.length === 0))
    searches.push(await findPython(backend, { env, python, signal }));
  const found = searches.flatMap(search => search.found)[0];
  return (
    found ??
    notInstalled(
      request,
      searches.flatMap(search => search.tried),
    )
  );
}

function refuseBuilder({ builder, backend }: BuilderWanted): never {
  fail({
    code: "TRT005",
    what: `--builder ${builder} does not build for --backend ${backend}`,
    at: `--builder ${builder}`,
    why: "trtexec belongs to TensorRT and tensorrt_rtx to TensorRT-RTX; neither library reads the other's engines",
    fix: `--builder ${backend === "tensorrt" ? "trtexec" : "tensorrt_rtx"}, python or auto`,
  });
}

function notInstalled({ backend, builder }: BuilderWanted, tried: readonly string[]): never {
  fail({
    code: "ENV020",
    what: `nothing here builds ${backend === "tensorrt" ? "TensorRT" : "TensorRT-RTX"} engines (${tried.join("; ")})`,
    at: `--backend ${backend} --builder ${builder}`,
    why: "engines are built by NVIDIA's library, which mmtrt does not ship",
    fix: [
      "one of three ways:",
      "1. pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings, then --backend tensorrt_rtx --python THAT_PYTHON (builds without a GPU)",
      "2. pip install tensorrt on a machine with a GPU, then --backend tensorrt --python THAT_PYTHON",
      "3. NVIDIA's SDK or container, with trtexec or tensorrt_rtx on PATH or under TENSORRT_ROOT/bin",
      "--backend onnxruntime needs none of them",
    ].join("\n"),
  });
}

/**
 * Builds one engine. On return `request.engine` is a whole engine; on any failure that name does not exist (an older
 * engine under it is removed first, so that nobody takes it for the new one). Throws MmtrtError with every cause found.
 */
export async function buildEngine(
  request: EngineRequest,
  options: BuildEngineOptions & {
    /** Who builds, where that was looked up before: several engines need one search. */
    readonly found?: FoundBuilder;
  },
): Promise<EngineReport> {
  const started = performance.now();
  throwIfAny(request.inputs === undefined ? [] : profileProblems(request.profiles, request.inputs));
  const found = options.found ?? (await chooseBuilder(request, options.env, options.signal));
  if (options.signal?.aborted) throw new MmtrtError([cancelledBefore(request)]);
  await mkdir(dirname(request.engine), { recursive: true });
  await rm(request.engine, { force: true });
  try {
    const report =
      found.builder === "python"
        ? await runDriver(checkedForPython(request), found, options)
        : await runTrtexec(request, found, options);
    return { ...report, seconds: (performance.now() - started) / 1000 };
  } finally {
    await rm(partialName(request.engine), { force: true });
  }
}

function cancelledBefore(request: EngineRequest): Problem {
  return {
    code: "TRT008",
    what: "the build was cancelled before it began",
    at: request.engine,
    why: "it was asked to stop; no engine was written",
    fix: "run it again",
  };
}

function checkedForPython(request: EngineRequest): EngineRequest {
  throwIfAny(pythonFlagProblems(request.trtexecFlags ?? []));
  return request;
}

async function runTrtexec(
  request: EngineRequest,
  tool: FoundTool,
  options: BuildEngineOptions,
): Promise<Omit<EngineReport, "seconds">> {
  throwIfAny([
    ...nameProblems(request),
    ...flagProblems(request.trtexecFlags ?? [], tool),
    ...targetProblems(request, tool),
  ]);
  const argv = trtexecArgv(request, tool);
  const reader = new TrtexecReader();
  const lines: string[] = [];
  options.onEvent?.({ event: "start", builder: tool.builder, version: tool.version, argv });
  if (tool.builder === "tensorrt_rtx" && request.timingCache !== undefined) {
    options.onEvent?.({ event: "warning", problem: cacheWithoutEffect(request.timingCache) });
  }
  const end = await runTool({
    argv,
    endsWithParent: true,
    env: options.env,
    onLine(line) {
      if (!/^\[[^\]]*\] \[V\]/.test(line)) keep(lines, line);
      for (const event of reader.read(line)) options.onEvent?.(event);
    },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.logFile === undefined ? {} : { logFile: options.logFile }),
    ...(request.timeLimitSeconds === undefined ? {} : { timeLimitSeconds: request.timeLimitSeconds }),
  });
  if (end.why !== "exit" || end.code !== 0)
    throw new MmtrtError(failureProblems(request, end, argv, lines, options.logFile));
  const header = await settle(request, argv, options.logFile);
  const facts = reader.facts(request.profiles.map(profile => profile.name));
  return {
    file: request.engine,
    bytes: header.bytes,
    builder: tool.builder,
    version: header.version,
    stageSeconds: undefined,
    argv,
    logFile: options.logFile,
    io: undefined,
    profiles: facts.profiles.length > 0 ? facts.profiles : request.profiles,
    layers: undefined,
    engineLayers: undefined,
    sms: request.computeCapabilities ?? [],
    memoryBytes: facts.weights > 0 ? { weights: facts.weights, activation: facts.activation } : undefined,
    peakHostMiB: undefined,
    warnings: facts.warnings,
  };
}

function cacheWithoutEffect(file: string): Problem {
  return {
    code: "TRT012",
    what: "the timing cache has no effect with TensorRT-RTX",
    at: `--timing_cache ${file}`,
    why: "TensorRT-RTX picks kernels without timing them and finishes the choice when the engine first runs",
    fix: "leave --timing_cache out",
  };
}

/** A failing tool can print without end; its first and last words matter. */
const MAX_KEPT_LINES = 20_000;

function keep(lines: string[], line: string): void {
  if (lines.length === MAX_KEPT_LINES) lines.splice(MAX_KEPT_LINES / 2, MAX_KEPT_LINES / 4);
  lines.push(line);
}

function failureProblems(
  request: EngineRequest,
  end: ToolEnd,
  argv: readonly string[],
  lines: readonly string[],
  logFile: string | undefined,
): readonly Problem[] {
  if (end.why === "cancelled" || end.why === "time_limit") return [endProblem(end, argv, logFile)];
  const context = { profiles: request.profiles, ...(request.inputs === undefined ? {} : { io: request.inputs }) };
  const causes = explain(lines.join("\n"), context).filter(finding => finding.kind === "cause");
  if (causes.length === 0) return [endProblem(end, argv, logFile)];
  return causes.map(finding =>
    findingProblem(finding, logFile === undefined ? request.onnx : `${logFile}:${finding.line}`),
  );
}

/** Checks what the tool wrote, flushes it to disk and gives it its name. */
async function settle(
  request: EngineRequest,
  argv: readonly string[],
  logFile: string | undefined,
): Promise<{ readonly bytes: number; readonly version: string }> {
  const partial = partialName(request.engine);
  const header = (await stat(partial).catch(() => undefined)) === undefined ? undefined : await readPlanHeader(partial);
  if (header === undefined || header.library !== request.backend) {
    fail({
      code: "TRT015",
      what: `${argv[0]} reported success, and ${partial} is not a whole ${request.backend} engine`,
      at: request.engine,
      why:
        header === undefined
          ? "the file is missing, or does not start as an engine does"
          : `it is an engine of ${header.library}`,
      fix: logFile === undefined ? "run the command by hand" : `read ${logFile}`,
    });
  }
  const handle = await open(partial, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(partial, request.engine);
  return header;
}
