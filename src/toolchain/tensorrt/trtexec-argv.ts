import type { Problem } from "../../diagnostics/index.ts";
import type { EngineProfile, EngineRequest, ShapeRange } from "./request.ts";

export interface TrtexecTool {
  readonly builder: "trtexec" | "tensorrt_rtx";
  /** The program as it is started. */
  readonly file: string;
}

/**
 * The exact command line, in an order that depends on the request alone. `engine` is where the tool writes: the request's
 * name with .partial, because trtexec writes in place and a killed one would leave half an engine.
 */
export function trtexecArgv(
  request: EngineRequest,
  tool: TrtexecTool,
  engine: string = partialName(request.engine),
): [string, ...string[]] {
  return [
    tool.file,
    `--onnx=${request.onnx}`,
    `--saveEngine=${engine}`,
    // From 11.0 on a switch without effect; TensorRT-RTX knows no other networks.
    ...(tool.builder === "trtexec" ? ["--stronglyTyped"] : []),
    "--skipInference",
    ...profileFlags(request),
    ...(tool.builder === "tensorrt_rtx" ? listFlag("computeCapabilities", request.computeCapabilities) : []),
    ...valueFlag("builderOptimizationLevel", request.optimizationLevel),
    ...(request.workspaceMiB === undefined ? [] : [`--memPoolSize=workspace:${request.workspaceMiB}M`]),
    ...(tool.builder === "trtexec" ? valueFlag("timingCacheFile", request.timingCache) : []),
    ...valueFlag("profilingVerbosity", request.profilingVerbosity),
    ...switchFlag("allowWeightStreaming", request.weightStreaming),
    ...switchFlag("refit", request.refit),
    ...switchFlag("stripWeights", request.stripWeights),
    ...switchFlag("versionCompatible", request.versionCompatible),
    ...pluginFlags(request),
    ...(request.aliasedPluginIo ? ["--preview=+aliasedPluginIO1003"] : []),
    // Printed from the engine itself, which the tool opens after the build: needs a GPU, and costs nothing.
    ...(tool.builder === "trtexec" && hasDynamicInputs(request) ? ["--dumpOptimizationProfile"] : []),
    ...(request.trtexecFlags ?? []),
  ];
}

export function partialName(engine: string): string {
  return `${engine}.partial`;
}

/** trtexec refuses shapes for a graph without dynamic sizes, so only dynamic inputs are named where the graph is known. */
function profileFlags(request: EngineRequest): readonly string[] {
  if (!hasDynamicInputs(request)) return [];
  const shapes = request.profiles.map(profile => shapeFlags(dynamicShapes(profile, request)));
  return shapes.length === 1 ? (shapes[0] ?? []) : shapes.flatMap((flags, index) => [`--profile=${index}`, ...flags]);
}

function hasDynamicInputs({ inputs, profiles }: EngineRequest): boolean {
  return profiles.some(profile => Object.keys(profile.shapes).length > 0) && (inputs?.some(isDynamic) ?? true);
}

function isDynamic({ dims }: { readonly dims: readonly (number | string)[] }): boolean {
  return dims.some(dim => typeof dim === "string" || dim < 0);
}

function dynamicShapes(
  { shapes }: EngineProfile,
  { inputs }: EngineRequest,
): readonly (readonly [string, ShapeRange])[] {
  const fixed = new Set(inputs?.filter(input => !isDynamic(input)).map(input => input.name));
  return Object.entries(shapes).filter(([name]) => !fixed.has(name));
}

function shapeFlags(shapes: readonly (readonly [string, ShapeRange])[]): readonly string[] {
  return (["min", "opt", "max"] as const).map(
    end =>
      `--${end}Shapes=${shapes.map(([name, range]) => `${quoteName(name)}:${range[end].join("x") || "scalar"}`).join(",")}`,
  );
}

/** trtexec reads `name:1x3`; in quotes a name may hold a colon. */
function quoteName(name: string): string {
  return name.includes(":") ? `'${name}'` : name;
}

/** Names that trtexec would read as something else: a list's comma, its own quotes, the wildcard. */
export function nameProblems(request: EngineRequest): readonly Problem[] {
  const names = new Set(request.profiles.flatMap(profile => Object.keys(profile.shapes)));
  return [...names]
    .filter(name => /[,'*]/.test(name))
    .map(name => ({
      code: "TRT016",
      what: `the input name ${name} cannot be written in trtexec's shape lists`,
      at: request.onnx,
      why: "a comma, a quote and a star have a meaning there",
      fix: "rename the input, or --builder python",
    }));
}

function pluginFlags({ plugins = [] }: EngineRequest): readonly string[] {
  return plugins.flatMap(({ file, load }) =>
    load === "static"
      ? [`--staticPlugins=${file}`]
      : [`--dynamicPlugins=${file}`, ...(load === "serialize" ? [`--setPluginsToSerialize=${file}`] : [])],
  );
}

function valueFlag(name: string, value: string | number | undefined): readonly string[] {
  return value === undefined ? [] : [`--${name}=${value}`];
}

function switchFlag(name: string, on: boolean | undefined): readonly string[] {
  return on === true ? [`--${name}`] : [];
}

function listFlag(name: string, values: readonly number[] = []): readonly string[] {
  return values.length === 0 ? [] : [`--${name}=${values.join(",")}`];
}
