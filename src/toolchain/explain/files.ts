import type { Explanation } from "./explanation.ts";

/** Messages about engine files, plugin libraries, installations and command lines. */
export const FILE_MESSAGES: readonly Explanation[] = [
  {
    code: "TRT201",
    kind: "cause",
    pattern:
      /Version tag does not match\.?(?:\s+Note: Current Version: (?<current>\d+), Serialized Engine Version: (?<stored>\d+))?/,
    what: ({ current = "", stored = "" }) =>
      current === ""
        ? "the engine's format is of another TensorRT version"
        : `the engine has format ${stored}, this TensorRT reads ${current}`,
    fix: () => "build the engine again with the version that runs it; its .onnx is in the engine directory",
  },
  {
    code: "TRT202",
    kind: "cause",
    pattern:
      /not compatible with this version of TensorRT, expecting library version (?<expected>[\d.]+) got (?<got>[\d.]+)/,
    what: ({ expected, got = "" }) => `the engine was built by ${got.replace(/\.$/, "")}, this is ${expected}`,
    fix: ({ expected }) => `build the engine again with TensorRT ${expected}`,
  },
  {
    code: "TRT203",
    kind: "cause",
    pattern: /generated on an incompatible device, expecting compute (?<expected>[\d.]+) got compute (?<got>\d+\.\d+)/,
    what: ({ expected, got }) => `the engine is for compute capability ${got}, this GPU has ${expected}`,
    fix: ({ expected }) => `build the engine again on this GPU (compute capability ${expected})`,
  },
  {
    code: "TRT204",
    kind: "cause",
    pattern:
      /magicTag == rt::k\w+ failed|Failed to verify a plan tag|Magic tag does not match|Plan file is (?:empty|incorrect)/,
    what: () => "the file does not start as an engine of this library does",
    fix: () => "mmtrt inspect FILE says what it is; build it again with the backend that runs it",
  },
  {
    code: "TRT205",
    kind: "cause",
    pattern: /The engine cannot run on this GPU, which has compute capability (?<cc>\d+\.\d+)/,
    what: ({ cc }) => `TensorRT-RTX does not run on compute capability ${cc}`,
    fix: () => "--backend tensorrt on this GPU, or an RTX GPU",
  },
  {
    code: "TRT206",
    kind: "notice",
    pattern: /Using an engine plan file across different models of devices is not (?:recommended|supported)/,
    what: () => "the engine was built on another GPU model",
    fix: () => "build it on this GPU to have its fastest kernels",
  },
  {
    code: "TRT221",
    kind: "cause",
    pattern: /(?<=(?<library>[^\s:]{1,300}\.so[.\d]{0,40})): cannot open shared object file/,
    what: ({ library }) => `${library} cannot be opened`,
    fix: ({ library = "" }) =>
      /libnvinfer|libcudart|libcublas|libnvonnxparser|libtensorrt/.test(library)
        ? `add the directory of ${library} to LD_LIBRARY_PATH`
        : `check the path, and with ldd what ${library} needs`,
  },
  {
    code: "TRT222",
    kind: "cause",
    pattern:
      /getPluginCreator could not find plugin:? (?<plugin>[\w:.-]{1,200})(?: version:? (?<version>[\w.]{1,40}))?|Cannot find plugin: (?<other>[\w:.-]{1,200})|Plugin creator not found[^\n]*/,
    what: ({ plugin = "", other = "", version }) =>
      `no loaded library offers ${plugin || other || "the plugin"}${version === "" ? "" : ` version ${version}`}`,
    fix: () => "load its library before the engine is opened (--plugins), in the version the engine was built with",
  },
  {
    code: "TRT223",
    kind: "cause",
    pattern: /terminate called without an active exception/,
    what: () => "the process aborted, as TensorRT-RTX does when it adds a plugin and libtensorrt_rtx.so is missing",
    fix: () =>
      "ln -s libtensorrt_rtx.so.1 libtensorrt_rtx.so in the directory of tensorrt_rtx_libs (scripts/install-tensorrt-rtx.sh does it)",
  },
  {
    code: "TRT224",
    kind: "cause",
    pattern: /(?<=(?<library>[^\s:]{1,300}): undefined symbol: )(?<symbol>\S{1,300})/,
    what: ({ library, symbol }) => `${library} needs ${symbol}, which the loaded TensorRT does not have`,
    fix: () => "build the plugins again against this version: mmtrt plugins build",
  },
  {
    code: "TRT225",
    kind: "cause",
    pattern: /no kernel image is available for execution on the device|cudaErrorNoKernelImageForDevice|cudaError 209\b/,
    what: () => "a library has no kernel for this GPU",
    fix: () => "build the plugins again for this GPU's SM: mmtrt plugins build",
  },
  {
    code: "TRT244",
    kind: "cause",
    pattern: /error while loading shared libraries: (?<library>\S{1,300}): [^\n]*/,
    what: ({ library }) => `the program needs ${library}`,
    fix: ({ library }) =>
      `install it, or add its directory to LD_LIBRARY_PATH (TensorRT's own: TENSORRT_ROOT/lib) so that ${library} is found`,
  },
  {
    code: "TRT245",
    kind: "cause",
    pattern: /libnccl\.so/,
    what: () => "libnccl.so.2 is not found",
    fix: () => "install NCCL (the package nvidia-nccl-cu13 has it) and add its directory to LD_LIBRARY_PATH",
  },
  {
    code: "TRT261",
    kind: "cause",
    pattern: /Unknown option: (?<option>\S{1,200})/,
    what: ({ option }) => `the tool does not know ${option}`,
    fix: ({ option }) => `leave ${option} out, or use a version that has it`,
  },
  {
    code: "TRT262",
    kind: "cause",
    pattern: /Model missing or format not recognized/,
    what: () => "no model was given",
    fix: () => "add --onnx=FILE",
  },
  {
    code: "TRT264",
    kind: "cause",
    pattern: /Cannot find (?<file>[^\n]{1,500}?)\.\s*Use dummy model weights/,
    what: ({ file }) => `${file} is missing, and random weights took its place`,
    fix: () => "convert again, so that every rank has its file",
  },
  {
    code: "TRT263",
    kind: "effect",
    pattern:
      /Engine could not be created from network|Building engine failed|Failed to create engine from model|Engine set up failed|Parsing model failed|Failed to parse onnx file|Engine deserialization failed|Required optimization profile is invalid|Assertion engine(?:Ptr)? != nullptr failed|deserializeCudaEngine: Error Code 4/,
    what: () => "the tool stopped because of an earlier error",
    fix: () => "look at the first error of the log",
  },
];
