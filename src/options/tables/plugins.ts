import { defineOptions } from "../define.ts";

export const pluginsOptions = defineOptions({
  action: {
    type: "string",
    enum: ["build", "list", "new"],
    required: true,
    positional: true,
    group: "What",
    about: "build compiles the plugin library; list shows the plugins; new makes a folder for one more.",
  },
  name: {
    type: "string",
    positional: true,
    placeholder: "NAME",
    group: "What",
    about: "new: the plugin's name, as graphs will have it: a capital letter first, as in RotaryEmbedding.",
  },
  only: {
    type: "string",
    enum: ["library", "runner"],
    group: "Build",
    about:
      "build: the plugin library alone, or the runner alone, which takes a C++ compiler and no CUDA. Without it: both.",
  },
  output_dir: {
    type: "path",
    default: ".mmtrt/plugins",
    group: "Build",
    placeholder: "DIR",
    about:
      "Where libmmtrt_plugins.so and mmtrt-runner go; compiled objects are kept beside it by the hash of what they were made from.",
  },
  sm: {
    type: "integer",
    list: true,
    minimum: 75,
    maximum: 999,
    default: [80, 86, 89, 90, 120],
    group: "Build",
    placeholder: "SM",
    about:
      "Compute capabilities to compile for, as in 90 for 9.0. The newest also gets PTX, for GPUs that are newer still.",
  },
  tensorrt_root: {
    type: "path",
    group: "Build",
    placeholder: "DIR",
    about:
      "TensorRT 10 or 11, or TensorRT-RTX: the folder above its include folder. Without headers the library has no TensorRT plugins, only the kernels.",
  },
  onnxruntime_root: {
    type: "path",
    group: "Build",
    placeholder: "DIR",
    about:
      "ONNX Runtime 1.20 or later: the folder above its include folder, for custom ops of the CUDA provider and for graphs in the runner.",
  },
  plugin_sources: {
    type: "path",
    group: "Build",
    placeholder: "DIR",
    about:
      "A copy of mmtrt's native-plugins folder with plugins of your own. Without it: the one of the installed package.",
  },
  workers: {
    type: "integer",
    minimum: 1,
    maximum: 256,
    group: "Build",
    about: "Compilers at once. Without it: one for each processor.",
  },
});
