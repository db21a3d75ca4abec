import type { Explanation } from "./explanation.ts";

const gib = (bytes: string): string => `${(Number(bytes) / 2 ** 30).toFixed(1)} GiB`;

/** Messages about targets, kernels and memory: what the builder says. */
export const BUILDER_MESSAGES: readonly Explanation[] = [
  {
    code: "TRT161",
    kind: "cause",
    pattern:
      /Cannot compile for target\(s\) (?<sms>[\w, ]{1,100}), because the model contains HW-specific datatypes: (?<types>[\w, ]{1,100})/,
    what: ({ sms, types }) => `${sms} cannot compute in ${types}`,
    fix: ({ types = "" }) =>
      types.includes("b16")
        ? "--compute_capabilities 80 and above, or --dtype float16"
        : types.includes("fp4")
          ? "--compute_capabilities 120,121"
          : "--compute_capabilities 89,120,121",
  },
  {
    code: "TRT162",
    kind: "cause",
    pattern: /Target SM (?<sm>\d+) is not found in the accelerator list/,
    what: ({ sm }) => `the builder lost its target SM ${sm} after an earlier failure`,
    fix: () => "build each engine in a process of its own, as --builder python does",
  },
  {
    code: "TRT163",
    kind: "cause",
    pattern: /When set to kCURRENT, the index must be 0 and the number of compute capabilities must be 1/,
    what: () => "kCURRENT is given among other compute capabilities",
    fix: () => "name the SMs, or the current GPU alone",
  },
  {
    code: "TRT164",
    kind: "cause",
    pattern: /graph_jit\.cpp:\d+: CHECK\(status == CUDA_SUCCESS\) failed/,
    what: () => "a refittable or stripped engine was asked for on a machine without a GPU",
    fix: () => "build it on a machine with a GPU, or without refit and strip_weights",
  },
  {
    code: "TRT165",
    kind: "cause",
    pattern: /kernel_gen\.cpp:\d+[^\n]*CHECK\(sm_vers_\.size\(\)\s*==\s*1\)/,
    what: () => "a refittable or stripped engine was asked for with several compute capabilities",
    fix: () => "one engine for each compute capability",
  },
  {
    code: "TRT166",
    kind: "cause",
    pattern: /Unable to load library: (?<library>libnvinfer_lean\S*?):/,
    what: ({ library }) => `${library} is missing`,
    fix: () => "leave version_compatible out, or install TensorRT's lean runtime",
  },
  {
    code: "TRT167",
    kind: "cause",
    pattern:
      /does not support building engines on platforms other than Linux x86_64 when the runtime platform is set to Windows/,
    what: () => "an engine for Windows was asked for",
    fix: () => "build on Windows; TensorRT-RTX engines run on both systems as they are",
  },
  {
    code: "TRT168",
    kind: "cause",
    pattern: /Networks with (?<type>BF16|FP8)[^\n]{0,40}? require hardware with (?:BF16|FP8) support/,
    what: ({ type }) => `the GPU has no ${type}`,
    fix: ({ type }) =>
      type === "BF16" ? "--dtype float16, or a GPU of SM 80 or newer" : "another precision, or a GPU of SM 89 or newer",
  },
  {
    code: "TRT171",
    kind: "cause",
    pattern: /no tactics to implement the operation within workspace limit/,
    what: () => "the workspace limit is too small for a part of the graph",
    fix: () => "raise the workspace limit, or leave it out",
  },
  {
    code: "TRT170",
    kind: "cause",
    pattern:
      /Could not find any implementation for node (?<node>[^\n]{1,300}?)(?: due to insufficient workspace[^\n]*)?\.?\)?$/m,
    what: ({ node }) => `no kernel works for ${node}`,
    fix: () =>
      "free the GPU, leave the workspace limit out, and try --builder_optimization_level 5 or a newer TensorRT",
  },
  {
    code: "TRT172",
    kind: "cause",
    pattern: /targetFile\.is_open\(\) failed\. Cannot open file (?<file>[^\n]{1,500}?) In/,
    what: ({ file }) => `${file} cannot be opened`,
    fix: () => "give the path of the plugin library that the engine should carry",
  },
  {
    code: "TRT169",
    kind: "notice",
    pattern: /setHardwareCompatibilityLevel\(\) is unsupported in TensorRT-RTX/,
    what: () => "the hardware compatibility level is ignored",
    fix: () => "leave it out, and name --compute_capabilities where the default is not wanted",
  },
  {
    code: "TRT173",
    kind: "notice",
    pattern: /timing cache[^\n]{0,300}(?:different|mismatch|incompatible|invalid)|The timing cache will not be used/i,
    what: () => "the timing cache is of another version or GPU",
    fix: () => "remove the file; the build writes a new one",
  },
  {
    code: "TRT181",
    kind: "cause",
    pattern:
      /(?:OutOfMemory \((?:Requested size was (?<bytes>\d{1,18}) bytes)?|CUDA out of memory|cudaError(?:MemoryAllocation| 2\b)|Cuda failure: out of memory|: out of memory)/,
    what: ({ bytes = "" }) =>
      bytes === "" ? "an allocation on the GPU failed" : `${gib(bytes)} could not be allocated on the GPU`,
    fix: () =>
      "lower --max_batch_size, --max_seq_len or --max_multimodal_len, free the GPU, or use weight streaming; build --plan shows the memory account",
  },
  {
    code: "TRT182",
    kind: "notice",
    pattern:
      /Tactic Device request: (?<request>\d+)\s*MB Available: (?<free>\d+)\s*MB|Skipping tactic \S+ due to insuff?icient memory on requested size of (?<bytes>\d{1,18})/,
    what: ({ request = "", free = "", bytes = "" }) =>
      request === ""
        ? `a kernel needing ${gib(bytes)} was skipped`
        : `a kernel needing ${request} MB was skipped, ${free} MB are free`,
    fix: () => "free the GPU before building, or accept a slower kernel",
  },
  {
    code: "TRT183",
    kind: "cause",
    pattern: /std::bad_alloc|(?<=^|\n)Killed(?=\s*(?:\n|$))|Out of memory: Killed process/,
    what: () => "the process got no more memory from the machine",
    fix: () => "build fewer engines at once (--workers 1), or on a machine with more memory",
  },
  {
    code: "TRT184",
    kind: "cause",
    pattern: /No space left on device|Saving engine to file failed/,
    what: () => "the engine could not be written whole",
    fix: () => "free space for twice the weights, or choose another --output_dir",
  },
  {
    code: "TRT241",
    kind: "cause",
    pattern:
      /(?<!catchCudaError at [^\n]{0,200})cudaError (?:35|100)\b|no CUDA-capable device is detected|(?<!cudaError 35: )CUDA driver version is insufficient for CUDA runtime version|CUDA initialization failure with error: (?:35|100)|Cannot find any CUDA devices?/,
    what: () => "the CUDA driver shows no usable GPU",
    fix: () => "check nvidia-smi and the driver's version; to build without a GPU use --backend tensorrt_rtx",
  },
  {
    code: "TRT243",
    kind: "cause",
    pattern: /an illegal memory access was encountered|cudaErrorIllegalAddress|cudaError 700\b/,
    what: () => "a kernel left its memory",
    fix: () => "run again without plugins to find the culprit, then under compute-sanitizer",
  },
];
