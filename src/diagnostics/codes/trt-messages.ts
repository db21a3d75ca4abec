import type { CodeInfo } from "../code-info.ts";

/** Messages of TensorRT, its parser and trtexec: title and cause. src/toolchain/explain/ recognises them and says the cure. */
export const TRT_MESSAGES = {
  TRT101: {
    title: "an input size is in none of the engine's profiles",
    about:
      "At run time an input was given a size outside min…max of every optimization profile. The engine has no kernel planned for it.",
  },
  TRT102: {
    title: "an input has another size than the engine's fixed one",
    about:
      "The dimension is fixed in the graph, so no profile can change it: the input was made for another model or built with other limits.",
  },
  TRT103: {
    title: "a profile's opt sizes do not work",
    about:
      "TensorRT evaluates the graph's shapes at opt. Two inputs that the graph combines have sizes that do not go together there, e.g. attention_mask is not past + seq long; or a tensor between has more than the 2^40 elements that TensorRT takes.",
  },
  TRT104: {
    title: "a profile's min or max sizes contradict each other",
    about: "Only a warning, and the engine is built; a request with exactly these sizes would fail when it runs.",
  },
  TRT105: {
    title: "a dynamic input has no range in a profile",
    about: "Every input with a dynamic size needs min, opt and max in every profile.",
  },
  TRT106: {
    title: "the graph has dynamic sizes and no profile was defined",
    about:
      "Either no profile was given, or the one given was refused before and this message only follows. TensorRT plans for ranges of sizes, which a profile states.",
  },
  TRT107: {
    title: "a profile's range is not min ≤ opt ≤ max",
    about: "TensorRT takes a profile only when min ≤ opt ≤ max holds for each dimension of each input.",
  },
  TRT108: {
    title: "a profile gives a range to a fixed dimension",
    about: "The graph fixes this size, so min, opt and max must all equal it.",
  },
  TRT109: {
    title: "a profile has the wrong number of dimensions for an input",
    about: "A range has one size for each dimension of the input.",
  },
  TRT110: {
    title: "trtexec was given shapes for an input that does not exist",
    about: "The names in --minShapes, --optShapes and --maxShapes must be input names of the ONNX graph.",
  },
  TRT111: {
    title: "trtexec chose a size for an input by itself",
    about:
      "The input is dynamic and no shapes were given for it, so trtexec set every dynamic dimension to 1. The engine takes nothing else.",
  },
  TRT112: {
    title: "trtexec's shape flags are incomplete",
    about:
      "Several profiles are written as --profile=0 --minShapes=… --optShapes=… --maxShapes=… --profile=1 …, each with its own three lists.",
  },
  TRT113: {
    title: "shapes were given for a graph without dynamic sizes",
    about: "All sizes of the graph are fixed, so there is nothing a profile could state.",
  },

  TRT121: {
    title: "the parser knows an operator neither itself nor as a plugin",
    about:
      "The operator is not part of this TensorRT's ONNX parser, there is no model-local function with its name, and no loaded plugin library offers it.",
  },
  TRT122: {
    title: "a file with the graph's weights is missing",
    about:
      "The ONNX file keeps its weights in another file (external data), named relative to its own directory. That file is not there, or the .onnx was moved without it.",
  },
  TRT123: {
    title: "a weight file is shorter than, or differs from, what the graph expects",
    about:
      "The external-data entry's offset and length do not fit the file or the tensor's shape: the file was cut short, or is of another checkpoint than the graph.",
  },
  TRT124: {
    title: "a weight file's path leaves the graph's directory",
    about:
      "External data must lie in the directory of the .onnx file or below it. ONNX Runtime also refuses links that lead outside, as the Hugging Face cache has them.",
  },
  TRT125: {
    title: "the file is not an ONNX model",
    about: "It is cut short, is a Git LFS pointer of 130 bytes, or is another kind of file.",
  },
  TRT126: {
    title: "the ONNX file is not there",
    about: "The path does not name a regular file.",
  },
  TRT127: {
    title: "a node uses a value that nothing produces",
    about: "The graph is broken: nodes are out of order, or an input or initializer was removed.",
  },
  TRT128: {
    title: "the graph has no output",
    about: "An empty file parses as an empty graph, which TensorRT then refuses for having no output.",
  },
  TRT129: {
    title: "an If whose branches differ in shape cannot be compiled",
    about:
      "TensorRT compiles both branches of an If and wants one result shape. Context and generation phases belong into two optimization profiles, not into an If.",
  },
  TRT130: {
    title: "TensorRT's Attention has no cache inputs or outputs",
    about:
      "The standard operator's past and present are not supported: one output, no past. The cache is concatenated, or scattered, outside it.",
  },
  TRT131: {
    title: "an attribute of Attention is not supported",
    about: "softcap, softmax_precision and the score output exist in ONNX and not in TensorRT's attention.",
  },
  TRT132: {
    title: "no fused kernel fits this attention",
    about:
      "TensorRT has fused attention kernels for float16 and bfloat16 and certain shapes; TensorRT-RTX 1.7 has none for one query and an odd number of heads. Other ones must be marked decomposable or written out as MatMul and Softmax.",
  },
  TRT133: {
    title: "Attention has both a mask and is_causal",
    about: "TensorRT takes one of the two. Its is_causal also counts from the first key, which is wrong with a cache.",
  },
  TRT134: {
    title: "Attention's query, key and value differ in head size",
    about: "TensorRT's attention wants one head size for all three.",
  },
  TRT135: {
    title: "an input of the graph is not used",
    about:
      "The parser dropped it. It is harmless for an input that only another runtime needs, and wrong results when an operator's input was ignored, as Attention's nonpad_kv_seqlen is.",
  },
  TRT136: {
    title: "the cache of TensorScatter has a dynamic length",
    about: "TensorRT updates a cache in place only when its capacity is fixed.",
  },
  TRT137: {
    title: "TensorScatter is not in linear mode",
    about: "TensorRT writes a cache from front to back; the circular mode is ONNX Runtime's alone.",
  },
  TRT138: {
    title: "the shapes at a node do not fit each other",
    about:
      "The graph combines tensors of sizes that cannot be combined: it was made wrongly, or its weights are of another model.",
  },
  TRT139: {
    title: "a tensor has an element type that TensorRT does not have",
    about: "Strings, complex numbers and some integers exist in ONNX only.",
  },
  TRT140: {
    title: "a weight cannot be imported",
    about:
      "Its element type is not one TensorRT stores, e.g. UINT4, or its external data could not be read; the line before says which.",
  },
  TRT141: {
    title: "quantized weights are used without DequantizeLinear",
    about: "TensorRT takes int8 and int4 constants only as the input of DequantizeLinear or of a plugin.",
  },
  TRT142: {
    title: "TensorRT does not support this node",
    about: "The operator is known, but not with these inputs, types or attributes.",
  },
  TRT143: {
    title: "an operator of ONNX Runtime's own domain needs a plugin that is missing",
    about:
      "The parser can read MatMulNBits and its like, and builds them from plugins that the pip package does not contain.",
  },
  TRT144: {
    title: "a node mixes element types",
    about: "In a strongly typed network nothing is converted by itself: both operands must have one type.",
  },
  TRT145: {
    title: "quantization scales must be constants here",
    about: "Block-wise quantization of activations needs scales that are known when the engine is built.",
  },
  TRT146: {
    title: "this mixture of experts cannot be compiled",
    about: "TensorRT-RTX has no kernel for the fused operator and cannot take it apart.",
  },
  TRT147: {
    title: "packed attention has no kernel on this target",
    about: "A packed query with a padded cache needs a fused kernel that TensorRT-RTX does not have.",
  },
  TRT148: {
    title: "int64 values were narrowed to int32",
    about: "Older versions compute shapes and indices in int32. It is harmless as long as no value exceeds 2147483647.",
  },
  TRT149: {
    title: "weights or activations leave float16's range",
    about:
      "float16 holds 6e-8 … 65504. Smaller weights become 0 and larger activations infinity, which shows as wrong or empty text.",
  },

  TRT161: {
    title: "a target GPU lacks an element type of the graph",
    about: "bfloat16 exists from SM 80 on, float8 from SM 89, float4 from SM 120.",
  },
  TRT162: {
    title: "an earlier failed build spoiled this process",
    about: "After a failed refittable build TensorRT-RTX no longer finds its targets. One build a process avoids it.",
  },
  TRT163: {
    title: "the current GPU cannot be a target among others",
    about: "ComputeCapability::kCURRENT stands alone, and needs a GPU with a driver.",
  },
  TRT164: {
    title: "refittable or weightless kernels need a GPU to be compiled",
    about: "TensorRT-RTX builds refit and stripped engines only on a machine with a GPU.",
  },
  TRT165: {
    title: "refittable or weightless engines are for one compute capability",
    about: "TensorRT-RTX compiles such kernels for a single SM.",
  },
  TRT166: {
    title: "TensorRT's lean runtime is missing",
    about:
      "A version-compatible engine carries the lean runtime, which TensorRT-RTX and slim installations do not have.",
  },
  TRT167: {
    title: "engines for Windows are not built on this platform",
    about: "This build of TensorRT has no cross-platform target.",
  },
  TRT168: {
    title: "the GPU lacks the precision the network asks for",
    about: "bfloat16 needs SM 80 or newer, float8 SM 89 or newer.",
  },
  TRT169: {
    title: "hardware compatibility is not a setting of TensorRT-RTX",
    about: "Its engines run on all the compute capabilities they are built for; the setting is ignored.",
  },
  TRT170: {
    title: "TensorRT found no kernel for a part of the graph",
    about:
      "All candidates failed or needed more memory than they were allowed. Other processes on the GPU, a small workspace, or a bug in this version are the usual reasons.",
  },
  TRT171: {
    title: "no kernel fits into the workspace limit",
    about: "Every candidate needs more scratch memory than the workspace limit allows.",
  },
  TRT172: {
    title: "a plugin library that the engine should carry cannot be opened",
    about: "Libraries named for serialization are read whole into the engine.",
  },
  TRT173: {
    title: "the timing cache does not fit",
    about: "It was made by another version of TensorRT or on another GPU, and is left unused.",
  },

  TRT181: {
    title: "the GPU is out of memory",
    about:
      "Weights, activations of the largest profile and the cache must fit together, beside whatever else runs on the GPU.",
  },
  TRT182: {
    title: "kernels were skipped for lack of GPU memory",
    about: "The build goes on with others, which may be slower.",
  },
  TRT183: {
    title: "the machine ran out of memory",
    about: "A build holds about 0.4 GB plus four times the weights in main memory.",
  },
  TRT184: {
    title: "the disk is full",
    about: "An engine is about as large as its weights, and is written beside them before it gets its name.",
  },

  TRT201: {
    title: "the engine was written by another TensorRT version",
    about: "Engines are tied to the version that built them, unless built version-compatible.",
  },
  TRT202: {
    title: "the engine is for another library version",
    about: "Engines are tied to the version that built them, unless built version-compatible.",
  },
  TRT203: {
    title: "the engine is for a GPU of another compute capability",
    about: "TensorRT times and compiles kernels for the GPU that builds; another SM cannot run them.",
  },
  TRT204: {
    title: "the file is not a TensorRT engine",
    about:
      "It is cut short, is another kind of file, or was built by the other library: TensorRT and TensorRT-RTX do not read each other's engines.",
  },
  TRT205: {
    title: "TensorRT-RTX does not run on this GPU",
    about:
      "It runs on RTX GPUs (SM 75, 80, 86, 89, 120, 121); data-centre GPUs such as the H100 and H200 (SM 90) are not among them.",
  },
  TRT206: {
    title: "the engine was built on another model of GPU",
    about: "It runs, because the compute capability is equal, but its kernels were timed elsewhere.",
  },

  TRT221: {
    title: "a plugin library is missing or lacks a library it needs",
    about: "The dynamic loader could not open it.",
  },
  TRT222: {
    title: "a plugin creator is not registered",
    about: "The engine or graph names a plugin that no loaded library offers under that name, version and namespace.",
  },
  TRT223: {
    title: "the process ended while a plugin was added",
    about:
      "TensorRT-RTX's parser opens libtensorrt_rtx.so when it adds a plugin; the pip package has the file with a version in its name only, and the process aborts.",
  },
  TRT224: {
    title: "a plugin library was built against another TensorRT",
    about: "A symbol it needs is not in the library that is loaded.",
  },
  TRT225: {
    title: "a kernel was not compiled for this GPU",
    about: "The library holds kernels for other compute capabilities.",
  },

  TRT241: {
    title: "there is no usable GPU",
    about:
      "The CUDA driver is missing, too old for this CUDA, or shows no device. TensorRT needs a GPU to build and to run; TensorRT-RTX needs one only to run.",
  },
  TRT243: {
    title: "a kernel read or wrote outside its memory",
    about:
      "Usually a plugin, or an input buffer smaller than its shape; everything after it in the same process fails too.",
  },
  TRT244: {
    title: "a library of TensorRT or CUDA is missing",
    about: "The program is there, and the dynamic loader does not find a library it is linked with.",
  },
  TRT245: {
    title: "NCCL is missing",
    about: "Graphs with DistCollective, that is tensor parallelism, load NCCL when they run.",
  },

  TRT261: {
    title: "the tool does not know an option",
    about: "Flags come and go between versions; trtexec stops on any that it does not know.",
  },
  TRT262: {
    title: "trtexec was given no model",
    about: "It wants --onnx, or --loadEngine, with a file.",
  },
  TRT263: {
    title: "the build stopped because of an earlier message",
    about: "These lines only follow; the cause is an error before them.",
  },
  TRT264: {
    title: "weights are missing and were made up",
    about:
      "TensorRT-LLM found no weight file for the rank and went on with random weights, with no more than a warning. The engine talks nonsense.",
  },
} as const satisfies Record<string, CodeInfo>;
