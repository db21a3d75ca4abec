import type { CodeInfo } from "../code-info.ts";

export const ENV = {
  ENV001: {
    exit: 3,
    title: "a native package is missing or does not load",
    about:
      "onnxruntime-node and sharp bring native code for each platform. npm can leave them out when their install script cannot reach the network; ONNXRUNTIME_NODE_INSTALL=skip lets the CPU build that is in the package do. `mmtrt doctor` shows what loads.",
  },
  ENV002: {
    exit: 3,
    title: "this version of Node.js is not supported",
    about:
      "mmtrt runs on Node.js 20.19, 22.12 and later. Older versions lack functions that it and its packages use, and fail later with an error that says less.",
  },
  ENV020: {
    exit: 3,
    title: "TensorRT is not installed",
    about:
      "Engines are built by NVIDIA's library. Three ways to get one: `pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings` (no GPU needed to build), `pip install tensorrt` on a machine with a GPU, or an SDK with trtexec or tensorrt_rtx on PATH or under TENSORRT_ROOT. The default backend, ONNX Runtime, needs none.",
  },
  ENV021: {
    exit: 3,
    title: "a Python interpreter has no TensorRT bindings",
    about:
      "The driver imports tensorrt, tensorrt_rtx or tensorrt_rtx_bindings. Install one for that interpreter, or name another with --python.",
  },
  ENV022: {
    exit: 3,
    title: "TensorRT needs a GPU to build",
    about:
      "TensorRT times its kernels on the device while it builds. TensorRT-RTX compiles without one: --backend tensorrt_rtx.",
  },
  ENV023: {
    exit: 3,
    title: "TensorRT-RTX lacks a link that plugins need",
    about:
      "The ONNX parser opens libtensorrt_rtx.so when it adds a plugin; the pip package ships libtensorrt_rtx.so.1 only, and the process would abort. scripts/install-tensorrt-rtx.sh makes the link.",
  },
  ENV024: {
    exit: 3,
    title: "a program cannot be started",
    about: "It is missing, not executable, or for another platform.",
  },
  ENV025: {
    exit: 3,
    title: "the operating system refused a file",
    about:
      "A directory could not be made, or a file read, written, linked or renamed: a full, read-only or failing disk, missing permissions, or too many open files. What was there before is still there; nothing half done carries a final name.",
  },
} as const satisfies Record<string, CodeInfo>;
