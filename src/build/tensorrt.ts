import { resolve } from "node:path";
import type { Problem } from "../diagnostics/index.ts";
import { ATTENTION_ONLY, DECOMPOSED, type Dialect, MODERN, MODERN_STATIC_CACHE } from "../graph/dialect.ts";
import type { BuildOptions } from "../options/tables/build.ts";
import type { TensorrtOptions } from "../options/tables/build-tensorrt.ts";
import type { BuildSettings, TargetFacts } from "../rules/rule.ts";
import type { FloatDtype } from "../tensor/index.ts";
import type { EngineRequest, TensorRTBackend } from "../toolchain/tensorrt/request.ts";
import { targetProblems } from "../toolchain/tensorrt/target-limits.ts";
import { flagProblems, pythonFlagProblems } from "../toolchain/tensorrt/trtexec-flags.ts";
import { smsWithout, supports, type Target } from "../toolchain/tensorrt/versions.ts";
import type { BuilderAtHand } from "./find-builder.ts";
import type { EnginePlan } from "./plan.ts";
import type { Adjustment } from "./settings.ts";

/** 86 for 86, 8.6 and sm86: no compute capability reaches 20, and no SM number is below it. Each once, in order. */
export function smNumbers(given: TensorrtOptions["compute_capabilities"] = []): readonly number[] {
  const sms = given.map(value => {
    const number = typeof value === "number" ? value : Number(value.slice("sm".length));
    return number < 20 ? Math.round(number * 10) : number;
  });
  return [...new Set(sms)].sort((a, b) => a - b);
}

/**
 * Which parser will read the graphs. --tensorrt_version means a release of TensorRT, whichever backend is used: graphs for
 * an older one are right in all. ONNX Runtime and TensorRT-RTX read every form.
 */
export function parserOf(options: BuildOptions, builder: BuilderAtHand | null): Target {
  const { backend, tensorrt_version } = options;
  if (tensorrt_version !== undefined) return { backend: "tensorrt", version: tensorrt_version };
  if (backend === "onnxruntime") return { backend: "tensorrt_rtx" };
  return { backend, version: builder?.found.version };
}

/** The newest spelling of attention, rotary positions and norms that the parser reads. */
export function dialectFor(parser: Target, staticCache: boolean): Dialect {
  if (supports(parser, "RotaryEmbedding") && supports(parser, "RMSNormalization"))
    return staticCache ? MODERN_STATIC_CACHE : MODERN;
  return supports(parser, "Attention") ? ATTENTION_ONLY : DECOMPOSED;
}

/**
 * Whether graphs may have ONNX Runtime's own operators: its kernel writes a static cache, and takes a batch's prompts in one
 * piece. Ranks that are cut apart and put together again keep to the standard.
 */
export function takesOrtOperators(build: BuildSettings, computeDtype: FloatDtype, ranks: number): boolean {
  const { backend, kv_cache_type, use_paged_context_fmha: inPieces } = build;
  const ownCache = backend === "onnxruntime" && kv_cache_type === "static" && !inPieces;
  return ownCache && computeDtype === "float32" && ranks === 1;
}

/** What the rules may know of the target; the tables of versions and SMs stay in src/toolchain. */
export function targetFacts(
  options: BuildOptions,
  builder: BuilderAtHand | null,
  computeDtype: FloatDtype,
  trtexecFlags: readonly string[],
  hasAllReducePlugin: boolean,
): TargetFacts {
  const parser = parserOf(options, builder);
  const sms = smNumbers(options.compute_capabilities);
  const own = options.backend === "tensorrt" && sms.length === 0 ? (builder?.gpus ?? []).slice(0, 1) : sms;
  return {
    backend: options.backend,
    parserVersion: parser.version ?? null,
    hasTensorScatter: supports(parser, "TensorScatter"),
    hasDistCollective: supports(parser, "DistCollective"),
    hasAllReducePlugin,
    sms,
    computeDtype,
    smsWithoutDtype: smsWithout({ ...parser, sms: own }, computeDtype),
    gpus: builder?.gpus?.length ?? null,
    needsRefit: (["refit", "strip_plan"] as const).filter(key => options[key]),
    tensorrtVersion: options.tensorrt_version,
    trtexecFlags,
  };
}

/** What the toolchain refuses of these options, known before any engine is planned. */
export function toolProblems(
  options: BuildOptions,
  builder: BuilderAtHand | null,
  trtexecFlags: readonly string[],
): readonly Problem[] {
  const { backend } = options;
  if (backend === "onnxruntime") return [];
  const { computeCapabilities, ...rest } = toolchainOptions(options, backend, trtexecFlags);
  const isPython = (builder?.found.builder ?? options.builder) === "python";
  // TensorRT's Python driver knows the GPU and takes its own SM; trtexec takes none.
  const request = {
    ...rest,
    ...(computeCapabilities && !(isPython && backend === "tensorrt") && { computeCapabilities }),
  };
  const tool = {
    builder: backend === "tensorrt" ? ("trtexec" as const) : ("tensorrt_rtx" as const),
    version: isPython ? undefined : builder?.found.version,
  };
  const flags = isPython ? pythonFlagProblems(trtexecFlags) : flagProblems(trtexecFlags, tool);
  return [...targetProblems(request, tool), ...flags];
}

/** The request for one engine; paths are relative to the engine directory until it is known where that is written. */
export function engineRequest(
  part: Pick<EnginePlan, "onnx" | "io" | "profiles"> & { readonly engine: string },
  options: BuildOptions,
  backend: TensorRTBackend,
  trtexecFlags: readonly string[],
): EngineRequest {
  return {
    ...toolchainOptions(options, backend, trtexecFlags),
    onnx: part.onnx,
    engine: part.engine,
    profiles: part.profiles.map(({ name, shapes }) => ({ name, shapes })),
    inputs: part.io.filter(({ kind }) => kind === "input").map(({ name, dtype, dims }) => ({ name, dtype, dims })),
  };
}

function toolchainOptions(options: BuildOptions, backend: TensorRTBackend, trtexecFlags: readonly string[]) {
  const { python, timing_cache, plugins = [], tensorrt_version } = options;
  const sms = smNumbers(options.compute_capabilities);
  return {
    backend,
    builder: options.builder,
    ...(python !== undefined && { python }),
    ...(tensorrt_version !== undefined && { tensorrtVersion: tensorrt_version }),
    ...(sms.length > 0 && { computeCapabilities: sms }),
    ...(options.builder_optimization_level !== undefined && { optimizationLevel: options.builder_optimization_level }),
    ...(options.workspace !== undefined && { workspaceMiB: options.workspace }),
    ...(timing_cache !== undefined && { timingCache: resolve(timing_cache) }),
    ...(options.profiling_verbosity !== undefined && { profilingVerbosity: options.profiling_verbosity }),
    ...(options.weight_streaming && { weightStreaming: true }),
    ...(options.refit && { refit: true }),
    ...(options.strip_plan && { stripWeights: true }),
    ...(options.version_compatible && { versionCompatible: true }),
    ...(plugins.length > 0 && { plugins: plugins.map(file => ({ file: resolve(file), load: "dynamic" as const })) }),
    ...(trtexecFlags.length > 0 && { trtexecFlags }),
    ...(options.time_limit !== undefined && { timeLimitSeconds: options.time_limit }),
  };
}

/** The options that decide what an engine is, as kept in the manifest; nothing with ONNX Runtime but what shapes its graphs. */
export function tensorrtSettings(options: BuildOptions): Readonly<Record<string, unknown>> {
  const { tensorrt_version } = options;
  if (options.backend === "onnxruntime") return tensorrt_version === undefined ? {} : { tensorrt_version };
  return {
    ...(tensorrt_version !== undefined && { tensorrt_version }),
    compute_capabilities: smNumbers(options.compute_capabilities),
    builder_optimization_level: options.builder_optimization_level ?? null,
    workspace: options.workspace ?? null,
    profiling_verbosity: options.profiling_verbosity ?? null,
    weight_streaming: options.weight_streaming,
    refit: options.refit,
    strip_plan: options.strip_plan,
    version_compatible: options.version_compatible,
    plugins: options.plugins ?? [],
  };
}

/** What of a request decides the engine's bytes: not where it lies, who is asked for it, or how long it may take. */
export function shapingPart(request: EngineRequest): Readonly<Record<string, unknown>> {
  const { onnx: _1, engine: _2, inputs: _3, python: _4, timeLimitSeconds: _5, timingCache: _6, ...rest } = request;
  return rest;
}

/** The release is chosen for the user: by what is installed, or, with nothing installed, as the newest one. */
export function noteParser(
  options: BuildOptions,
  builder: BuilderAtHand | null,
  dialect: Dialect,
): readonly Adjustment[] {
  if (options.backend === "onnxruntime" || options.tensorrt_version !== undefined) return [];
  const option = "tensorrt_version";
  const version = builder?.found.version;
  if (version === undefined) {
    const why = `no installed ${options.backend === "tensorrt" ? "TensorRT" : "TensorRT-RTX"} says its version, so graphs are planned for the newest`;
    return [{ option, from: null, to: "newest", why }];
  }
  if (dialect === MODERN || dialect === MODERN_STATIC_CACHE) return [];
  const spelled = dialect === DECOMPOSED ? "attention, rotary positions and norms" : "rotary positions and norms";
  return [{ option, from: null, to: version, why: `the release that builds; its parser needs ${spelled} spelled out` }];
}
