import type { Problem } from "../../diagnostics/index.ts";

/** Which library the engine is for. An engine of one cannot be read by the other. */
export type TensorRTBackend = "tensorrt" | "tensorrt_rtx";

/** Who calls the builder: NVIDIA's command line tools, or our Python driver over the bindings of a pip installation. */
const BUILDERS = ["auto", "trtexec", "tensorrt_rtx", "python"] as const;
export type BuilderChoice = (typeof BUILDERS)[number];
export type Builder = Exclude<BuilderChoice, "auto">;

/** min ≤ opt ≤ max per axis; 0 is legal (an empty cache). */
export interface ShapeRange {
  readonly min: readonly number[];
  readonly opt: readonly number[];
  readonly max: readonly number[];
}

/** One optimization profile; its index in the request is its index in the engine. */
export interface EngineProfile {
  readonly name: string;
  /** Every dynamic input of the graph; fixed ones may be left out. */
  readonly shapes: Readonly<Record<string, ShapeRange>>;
}

/** An input or output of the ONNX graph. A dim is a number or ONNX's dim_param, e.g. "batch" or "past + seq". */
export interface GraphTensor {
  readonly name: string;
  readonly dtype: string;
  readonly dims: readonly (number | string)[];
}

/** dynamic: TensorRT loads it, when building and again when running · static: the process links it · serialize: as dynamic, and carried inside the engine. */
export interface PluginLibrary {
  readonly file: string;
  readonly load: "dynamic" | "static" | "serialize";
}

export type ProfilingVerbosity = "layer_names_only" | "detailed" | "none";

/** Everything one engine build depends on. Paths are absolute or relative to the working directory. */
export interface EngineRequest {
  readonly backend: TensorRTBackend;
  readonly builder: BuilderChoice;
  readonly onnx: string;
  /** Written aside and renamed: this name either holds a whole engine or does not exist. */
  readonly engine: string;
  readonly profiles: readonly EngineProfile[];
  /** The graph's inputs, where the caller knows them: profiles are then checked before any process starts. */
  readonly inputs?: readonly GraphTensor[];
  /** SM numbers such as 86 or 120; none lets the library choose (TensorRT-RTX: 8.6, 8.9, 12.0, 12.1 and later). */
  readonly computeCapabilities?: readonly number[];
  /** 0 (fast build) … 5 (fast engine); the library's default is 3. */
  readonly optimizationLevel?: number;
  /** Upper bound of scratch memory a layer may ask for, in MiB. */
  readonly workspaceMiB?: number;
  /** Read when it exists, written after the build. */
  readonly timingCache?: string;
  readonly profilingVerbosity?: ProfilingVerbosity;
  readonly weightStreaming?: boolean;
  readonly refit?: boolean;
  readonly stripWeights?: boolean;
  readonly versionCompatible?: boolean;
  readonly plugins?: readonly PluginLibrary[];
  /** A plugin's outputs are its inputs' memory (TensorRT from 10.3, a preview feature); without it they are copies. */
  readonly aliasedPluginIo?: boolean;
  /** Words after `--`, handed to trtexec; each is checked against the flags we know. */
  readonly trtexecFlags?: readonly string[];
  readonly timeLimitSeconds?: number;
  /** A Python interpreter that can import the bindings (`--python`). */
  readonly python?: string;
  /** "10.13" or "11.1": the version that will build, where it cannot be asked (`--tensorrt_version`). */
  readonly tensorrtVersion?: string;
}

export type Severity = "internal_error" | "error" | "warning" | "info" | "verbose";

/** What a build reports while it runs; the same whichever builder works. */
export type EngineEvent =
  | {
      readonly event: "start";
      readonly builder: Builder;
      readonly version: string | undefined;
      readonly argv: readonly string[];
    }
  | { readonly event: "log"; readonly severity: Severity; readonly text: string }
  | {
      readonly event: "progress";
      readonly phase: string;
      readonly parent: string | undefined;
      readonly step: number;
      readonly steps: number;
      readonly percent: number;
    }
  | { readonly event: "warning"; readonly problem: Problem };

/** An input or output as the library itself names it; −1 is dynamic. */
export interface EngineTensor {
  readonly name: string;
  readonly kind: "input" | "output";
  /** TensorRT-LLM's spelling: float16, bfloat16, float32, int8, int32, int64, bool, fp8… */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly location?: "device" | "host";
}

/**
 * Where inputs and outputs were read: the engine itself, its layers as TensorRT logged them (`engine_log`), or the parsed
 * network alone.
 */
export type IoSource = "engine" | "engine_log" | "network";

export interface EngineReport {
  readonly file: string;
  readonly bytes: number;
  readonly builder: Builder;
  /** What built it, e.g. "1.7.1.116", as the engine's own header says. */
  readonly version: string | undefined;
  /** Of the whole call. */
  readonly seconds: number;
  /** Of its parts, where the tool tells: `build` is TensorRT's own. */
  readonly stageSeconds: { readonly parse: number; readonly build: number; readonly write: number } | undefined;
  readonly argv: readonly string[];
  readonly logFile: string | undefined;
  /** Absent from command line tools, which print none. */
  readonly io: { readonly from: IoSource; readonly tensors: readonly EngineTensor[] } | undefined;
  /** As the library took them; the request's own where the tool printed none. */
  readonly profiles: readonly EngineProfile[];
  /** Layers of the parsed network by TensorRT's type name. */
  readonly layers: Readonly<Record<string, number>> | undefined;
  /** Layers of the engine, after fusion. */
  readonly engineLayers: Readonly<Record<string, number>> | undefined;
  /** SMs the engine holds kernels for (TensorRT-RTX); empty when it does not say. */
  readonly sms: readonly number[];
  /** As TensorRT states them: weights, and what a context of the largest profile takes beside them. */
  readonly memoryBytes: { readonly weights: number; readonly activation: number } | undefined;
  readonly peakHostMiB: number | undefined;
  readonly warnings: readonly string[];
}

/** The variables the build may see; `environment()` of src/options is the usual one. */
export type ToolEnvironment = Readonly<Record<string, string | undefined>>;

export interface BuildEngineOptions {
  readonly env: ToolEnvironment;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: EngineEvent) => void;
  /** Every line the tool printed. Kept also when the build succeeds. */
  readonly logFile?: string;
}
