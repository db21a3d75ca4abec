import { defineOptions, type Values } from "../define.ts";

/** 86, 8.6 and sm86 are one target; the numbers are taken as numbers. */
const SM_WORDS = ["sm75", "sm80", "sm86", "sm87", "sm89", "sm90", "sm100", "sm103", "sm110", "sm120", "sm121"] as const;

/** Options of `mmtrt build` that only a TensorRT backend has a use for; names are trtllm-build's and trtexec's. */
export const tensorrtOptions = defineOptions({
  builder: {
    type: "string",
    enum: ["auto", "trtexec", "tensorrt_rtx", "python"],
    default: "auto",
    group: "TensorRT",
    about:
      "Who builds: NVIDIA's command line tool of the backend, or TensorRT's Python package. auto takes the tool where it is installed.",
  },
  python: {
    type: "path",
    group: "TensorRT",
    placeholder: "FILE",
    about: "The Python whose TensorRT package builds. Without it: the one of VIRTUAL_ENV, or python3 on PATH.",
  },
  compute_capabilities: {
    type: "number",
    minimum: 5,
    maximum: 130,
    words: SM_WORDS,
    list: true,
    group: "TensorRT",
    placeholder: "SM",
    about:
      "GPUs the engine is for, as 86, 8.6 or sm86. Without it: what TensorRT for RTX takes by itself (8.6, 8.9, 12.0 and later); TensorRT builds for the GPU at hand.",
  },
  tensorrt_version: {
    type: "string",
    group: "TensorRT",
    placeholder: "VERSION",
    about:
      "TensorRT release the graphs are written for, such as 10.13: before 10.15 some operators are spelled out. Without it: the release that builds.",
  },
  builder_optimization_level: {
    type: "integer",
    minimum: 0,
    maximum: 5,
    group: "TensorRT",
    aliases: [{ name: "builder_opt" }],
    about: "How long TensorRT looks for fast kernels: 0 builds fastest, 5 runs fastest. Without it: TensorRT's own, 3.",
  },
  workspace: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 20,
    group: "TensorRT",
    placeholder: "MIB",
    about: "Most scratch memory a layer may ask for, in MiB. Without it: all of the GPU's memory.",
  },
  timing_cache: {
    type: "path",
    group: "TensorRT",
    placeholder: "FILE",
    aliases: [{ name: "input_timing_cache" }, { name: "output_timing_cache" }],
    about: "Kernel times of earlier builds: read when the file exists, written after the build.",
  },
  profiling_verbosity: {
    type: "string",
    enum: ["layer_names_only", "detailed", "none"],
    group: "TensorRT",
    about:
      "What the engine tells about its layers. Without it: detailed with the Python package, layer_names_only with the tools.",
  },
  weight_streaming: {
    type: "boolean",
    default: false,
    group: "TensorRT",
    about: "Weights may stay in host memory and be copied in while the engine runs, for GPUs that cannot hold them.",
  },
  refit: {
    type: "boolean",
    default: false,
    group: "TensorRT",
    aliases: [{ name: "use_refit" }],
    about: "Weights can be exchanged in the built engine.",
  },
  strip_plan: {
    type: "boolean",
    default: false,
    group: "TensorRT",
    aliases: [{ name: "strip_weights" }, { name: "use_strip_plan" }],
    about: "Leave the weights out of the engine; they are put back by a refit before it runs.",
  },
  version_compatible: {
    type: "boolean",
    default: false,
    group: "TensorRT",
    about: "The engine also runs with later TensorRT releases of the same major version.",
  },
  plugins: {
    type: "path",
    list: true,
    group: "TensorRT",
    placeholder: "LIBRARY",
    aliases: [{ name: "plugin_lib" }],
    about:
      "Plugin libraries to load, at build time and again when the engine runs: what mmtrt plugins build wrote, or others.",
  },
  time_limit: {
    type: "integer",
    minimum: 1,
    maximum: 7 * 24 * 3600,
    group: "TensorRT",
    placeholder: "SECONDS",
    about: "Stop an engine's build after so many seconds.",
  },
});

export type TensorrtOptions = Values<typeof tensorrtOptions>;
export type TensorrtKey = keyof TensorrtOptions;
