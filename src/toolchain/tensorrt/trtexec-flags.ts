import { nearest, type Problem } from "../../diagnostics/index.ts";
import { compareVersions, parseVersion } from "./versions.ts";

/**
 * pass: handed on · ours: mmtrt writes it from an option of its own · types: sets precisions, which strongly typed graphs
 * carry themselves · inference: only matters when trtexec also runs the engine, which it does not here.
 */
type Use = "pass" | "ours" | "types" | "inference";

export interface TrtexecFlag {
  readonly use: Use;
  /** `--flag=value` (true) or `--flag` (false). */
  readonly value: boolean;
  /** First and first-without release of trtexec, counted from 10.0. */
  readonly since?: string;
  readonly until?: string;
  readonly only?: "trtexec" | "tensorrt_rtx";
  /** What to write instead. */
  readonly instead?: string;
}

const pass = (value: boolean, more: Partial<TrtexecFlag> = {}): TrtexecFlag => ({ use: "pass", value, ...more });
const ours = (value: boolean, instead: string): TrtexecFlag => ({ use: "ours", value, instead });
const types = (more: Partial<TrtexecFlag> = {}): TrtexecFlag => ({
  use: "types",
  value: false,
  until: "11.0",
  ...more,
});
const inference = (value: boolean, more: Partial<TrtexecFlag> = {}): TrtexecFlag => ({
  use: "inference",
  value,
  ...more,
});

/** trtexec's flags from 10.0 to 11.1, by name without dashes. */
export const TRTEXEC_FLAGS: Readonly<Record<string, TrtexecFlag>> = {
  inputIOFormats: pass(true),
  outputIOFormats: pass(true),
  avgTiming: pass(true),
  stripAllWeights: pass(false, { since: "10.1" }),
  leanDLLPath: pass(true),
  excludeLeanRuntime: pass(false),
  monitorMemory: pass(false, { since: "10.6" }),
  sparsity: pass(true),
  noTF32: pass(false),
  directIO: pass(false),
  layerDeviceTypes: pass(true),
  decomposableAttentions: pass(true, { since: "10.14" }),
  distributiveIndependence: pass(false, { since: "10.12" }),
  tacticSources: pass(true),
  noBuilderCache: pass(false),
  noCompilationCache: pass(false),
  errorOnTimingCacheMiss: pass(false),
  preview: pass(true),
  maxTactics: pass(true, { since: "10.4" }),
  hardwareCompatibilityLevel: pass(true, { only: "trtexec" }),
  runtimePlatform: pass(true, { since: "10.2" }),
  tempdir: pass(true),
  tempfileControls: pass(true),
  maxAuxStreams: pass(true),
  markDebug: pass(true),
  markUnfusedTensorsAsDebugTensors: pass(false, { since: "10.12" }),
  tilingOptimizationLevel: pass(true, { since: "10.8" }),
  l2LimitForTiling: pass(true, { since: "10.8" }),
  device: pass(true),
  useDLACore: pass(true, { only: "trtexec" }),
  allowGPUFallback: pass(false, { only: "trtexec" }),
  buildDLAStandalone: pass(false, { only: "trtexec" }),
  uint8AsymmetricQuantizationDLA: pass(false, { since: "10.11", only: "trtexec" }),
  reportCapabilityDLA: pass(false, { since: "10.16", only: "trtexec" }),
  adjustForDLA: pass(false, { since: "10.16", only: "trtexec" }),
  ignoreParsedPluginLibs: pass(false),
  pluginInstanceNorm: pass(false),
  pi: pass(false),
  enablePluginOverride: pass(false, { since: "10.15" }),
  setBuildRoute: pass(true, { since: "11.1", only: "trtexec" }),
  useGpu: pass(false, { only: "tensorrt_rtx" }),
  verbose: pass(false),
  dumpLayerInfo: pass(false),
  exportLayerInfo: pass(true),
  dumpRefit: pass(false),

  onnx: ours(true, "--checkpoint_dir"),
  saveEngine: ours(true, "--output_dir"),
  minShapes: ours(true, "--max_batch_size, --max_input_len and the other limits"),
  optShapes: ours(true, "--opt_batch_size and the other limits"),
  maxShapes: ours(true, "--max_batch_size, --max_input_len and the other limits"),
  profile: ours(true, "--multiple_profiles"),
  stronglyTyped: ours(false, "nothing: engines are always strongly typed"),
  skipInference: ours(false, "nothing: mmtrt run runs engines"),
  dumpOptimizationProfile: ours(false, "mmtrt inspect"),
  profilingVerbosity: ours(true, "--profiling_verbosity"),
  builderOptimizationLevel: ours(true, "--builder_optimization_level"),
  memPoolSize: ours(true, "--workspace"),
  timingCacheFile: ours(true, "--timing_cache"),
  allowWeightStreaming: ours(false, "--weight_streaming"),
  refit: ours(false, "--refit"),
  stripWeights: ours(false, "--strip_plan"),
  versionCompatible: ours(false, "--version_compatible"),
  vc: ours(false, "--version_compatible"),
  computeCapabilities: ours(true, "--compute_capabilities"),
  staticPlugins: ours(true, "--plugins"),
  dynamicPlugins: ours(true, "--plugins"),
  setPluginsToSerialize: ours(true, "--plugins"),
  plugins: ours(true, "--plugins"),
  loadEngine: ours(true, "mmtrt run --engine_dir"),

  fp16: types(),
  bf16: types(),
  int8: types({ until: "12.0" }),
  fp8: types(),
  int4: types({ since: "10.1" }),
  best: types(),
  precisionConstraints: types({ value: true }),
  layerPrecisions: types({ value: true }),
  layerOutputTypes: types({ value: true }),
  calib: types({ value: true }),

  shapes: inference(true),
  iterations: inference(true),
  duration: inference(true),
  warmUp: inference(true),
  sleepTime: inference(true),
  idleTime: inference(true),
  infStreams: inference(true),
  streams: inference(true),
  threads: inference(false),
  useSpinWait: inference(false),
  noSpinWait: inference(false, { since: "11.0" }),
  useCudaGraph: inference(false),
  noCudaGraph: inference(false, { since: "11.0" }),
  exposeDMA: inference(false),
  noDataTransfers: inference(false),
  includeDataTransfers: inference(false, { since: "11.0" }),
  useManagedMemory: inference(false),
  separateProfileRun: inference(false),
  timeDeserialize: inference(false),
  timeRefit: inference(false),
  persistentCacheRatio: inference(true),
  useProfile: inference(true),
  allocationStrategy: inference(true),
  weightStreamingBudget: inference(true),
  loadInputs: inference(true),
  dumpOutput: inference(false),
  dumpProfile: inference(false),
  exportTimes: inference(true),
  exportOutput: inference(true),
  exportProfile: inference(true),
  avgRuns: inference(true),
  percentile: inference(true),
};

export interface FlagTool {
  readonly builder: "trtexec" | "tensorrt_rtx";
  readonly version?: string | undefined;
}

/** Every word after `--` that the tool would stop on or ignore. */
export function flagProblems(words: readonly string[], tool: FlagTool): readonly Problem[] {
  const seen = new Set<string>();
  return words.flatMap(word => {
    const [, name, value] = /^--([A-Za-z0-9]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === undefined)
      return [
        refused(word, `${word} is not a flag`, "trtexec takes --flag and --flag=value", "join flag and value with ="),
      ];
    if (seen.has(name))
      return [
        refused(
          word,
          `--${name} is given twice`,
          "trtexec takes one of them and calls the other unknown",
          `leave one --${name} out`,
        ),
      ];
    seen.add(name);
    const flag = Object.hasOwn(TRTEXEC_FLAGS, name) ? TRTEXEC_FLAGS[name] : undefined;
    if (flag === undefined) return [unknownFlag(word, name)];
    return [useProblem(word, name, flag), formProblem(word, name, flag, value), versionProblem(word, name, flag, tool)]
      .filter(p => p !== undefined)
      .slice(0, 1);
  });
}

function unknownFlag(word: string, name: string): Problem {
  const passed = Object.keys(TRTEXEC_FLAGS).filter(key => TRTEXEC_FLAGS[key]?.use === "pass");
  const guess = nearest(name, passed);
  return refused(
    word,
    `trtexec has no flag --${name}`,
    "trtexec stops on a flag it does not know",
    guess === undefined ? "trtexec --help lists its flags" : `did you mean --${guess}?`,
  );
}

function useProblem(word: string, name: string, { use, instead }: TrtexecFlag): Problem | undefined {
  if (use === "ours")
    return refused(
      word,
      `--${name} is written by mmtrt`,
      "two values for one flag would contradict each other",
      `use ${instead}`,
    );
  if (use === "types")
    return refused(
      word,
      `--${name} has no place in a strongly typed build`,
      "element types are those of the graph",
      "choose them with mmtrt convert --dtype or mmtrt quantize",
    );
  if (use === "inference")
    return refused(
      word,
      `--${name} has no effect on a build`,
      "trtexec ends when the engine is written",
      `leave --${name} out`,
    );
  return undefined;
}

function formProblem(word: string, name: string, flag: TrtexecFlag, value: string | undefined): Problem | undefined {
  if (flag.value && (value ?? "") === "")
    return refused(word, `--${name} has no value`, "trtexec takes --flag=value", `write --${name}=VALUE`);
  if (!flag.value && value !== undefined)
    return refused(word, `--${name} takes no value`, "trtexec takes it as a switch", `write --${name}`);
  return undefined;
}

function versionProblem(
  word: string,
  name: string,
  { since, until, only }: TrtexecFlag,
  tool: FlagTool,
): Problem | undefined {
  if (only !== undefined && only !== tool.builder)
    return refused(word, `${tool.builder} has no --${name}`, `it is a flag of ${only}`, `leave --${name} out`);
  // since and until count releases of enterprise TensorRT.
  if (tool.version === undefined || tool.builder !== "trtexec") return undefined;
  const version = parseVersion(tool.version);
  const tooOld = since !== undefined && compareVersions(version, parseVersion(since)) < 0;
  const tooNew = until !== undefined && compareVersions(version, parseVersion(until)) >= 0;
  if (!tooOld && !tooNew) return undefined;
  return refused(
    word,
    `trtexec ${tool.version} has no --${name}`,
    tooOld ? `it came with ${since}` : `it went with ${until}`,
    `leave --${name} out, or use another TensorRT`,
  );
}

function refused(word: string, what: string, why: string, fix: string): Problem {
  return { code: "TRT006", what, at: `-- ${word} (command line)`, why, fix };
}

/** TRT006 for each word after `--` where the Python builder is used: it has no such flags. */
export function pythonFlagProblems(words: readonly string[]): readonly Problem[] {
  return words.map(word => ({
    code: "TRT006",
    what: `${word} cannot be handed to the Python builder`,
    at: `-- ${word} (command line)`,
    why: "words after -- are trtexec's flags",
    fix: "leave them out, or use trtexec: without --python and --builder python, where it is installed",
  }));
}
