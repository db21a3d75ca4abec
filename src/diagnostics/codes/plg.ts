import type { CodeInfo } from "../code-info.ts";

/** PLG: plugin.yaml files, compiling plugins, plugin libraries. */
export const PLG = {
  PLG001: {
    title: "a plugin.yaml is not as its schema says",
    about:
      "Names, inputs, outputs, attributes, types, limits and tolerances of a plugin are written in its plugin.yaml and nowhere else; native-plugins/plugin.schema.json says what each key takes.",
  },
  PLG002: {
    title: "a plugin.yaml contradicts itself",
    about:
      "Sizes of outputs come from inputs, types from the list of types, and requirements compare sizes and integer attributes, because checks, shapes and both adapters are generated from them.",
  },
  PLG003: {
    title: "a plugin's source does not compile",
    about:
      "nvcc, or the host compiler behind it, refuses a source. Each error comes with its file and line; the command in the fix repeats that one file.",
  },
  PLG004: {
    exit: 3,
    title: "nvcc is not installed",
    about:
      "Plugins are compiled by nvcc of the CUDA toolkit, 12.8 or later for SM 120. It is looked for on PATH and below CUDA_HOME and CUDA_PATH. No GPU is needed to compile.",
  },
  PLG005: {
    exit: 3,
    title: "nvcc does not know a GPU architecture",
    about:
      "Each CUDA release compiles for the GPUs of its time. --sm names those to compile for; leave out what this nvcc refuses, or install another toolkit.",
  },
  PLG006: {
    exit: 3,
    title: "no headers where an option says",
    about:
      "--tensorrt_root and --onnxruntime_root name the folder above an include folder. The Python packages bring libraries without headers; NVIDIA's SDKs, its system packages and the open-source TensorRT repository bring them.",
  },
  PLG007: {
    exit: 3,
    title: "headers of too old a version",
    about:
      "The TensorRT plugins are IPluginV3, which came with TensorRT 10.0; the custom ops use the C API of ONNX Runtime 1.20.",
  },
  PLG008: {
    exit: 2,
    title: "not a name for a plugin",
    about:
      "The operator's name is also the name of a folder and of a C++ namespace: a capital letter first, then letters and digits, 64 at most.",
  },
  PLG009: {
    title: "the folder of a new plugin cannot be made",
    about:
      "mmtrt plugins new writes into native-plugins/plugins of the installed package, or of the copy that --plugin_sources names, and never over a plugin that is there.",
  },
  PLG010: {
    exit: 3,
    title: "the machine has no C++ compiler",
    about:
      "mmtrt plugins build compiles the native runner with the machine's C++ compiler: CXX, or c++, g++ or clang++ on PATH, for C++17. CUDA is not needed for it.",
  },
} as const satisfies Record<string, CodeInfo>;
