import type { Explanation } from "./explanation.ts";

/** Messages about the ONNX file: what the parser says. */
export const GRAPH_MESSAGES: readonly Explanation[] = [
  {
    code: "TRT121",
    kind: "cause",
    pattern:
      /Plugin not found, are the plugin name, version, and namespace correct(?<=(?:While parsing node number \d+ \[(?<op>\w{1,100})(?: -> "(?<output>[^\n"]{0,300})")?[\s\S]{0,1500}?)?Plugin not found[^\n]{0,60})/,
    what: ({ op, output }) =>
      op === ""
        ? "an operator is neither built in nor a loaded plugin"
        : `${op} (making ${output}) is neither built in nor a loaded plugin`,
    fix: () =>
      "load its library with --plugins, or build the graph without it (--gpt_attention_plugin disable uses standard operators)",
  },
  {
    code: "TRT121",
    kind: "cause",
    pattern: /No importer registered for op: (?<op>\w{1,100})/,
    what: ({ op }) => `${op} is neither built in nor a loaded plugin`,
    fix: () => "load its library with --plugins, or use a TensorRT that has it",
  },
  {
    code: "TRT124",
    kind: "cause",
    pattern:
      /(?:Relative paths to parent[^\n]*Normalized path is: (?<file>[^\n]{1,500})|External data path (?<other>[^\n]{0,500}?)\s?escapes model directory)/,
    what: ({ file = "", other = "" }) =>
      `the weight file ${file || other || "of the graph"} lies outside the graph's directory`.replace("  ", " "),
    fix: () => "build with --copy_weights, or put a hard link of the weight file beside the .onnx file",
  },
  {
    code: "TRT122",
    kind: "cause",
    pattern: /Failed to open file: (?<file>[^\n]{1,500})/,
    what: ({ file }) => `the weight file ${file} is missing`,
    fix: ({ file = "" }) =>
      file.includes("/") && !file.startsWith("/")
        ? "external data needs a path relative to the .onnx file; build the graph again"
        : `put ${file.split("/").at(-1)} beside the .onnx file, under exactly that name`,
  },
  {
    code: "TRT123",
    kind: "cause",
    pattern:
      /(?:external weights offset\/length out of range for file: (?<file>[^\n]{1,500}?) \(offset=(?<offset>\d+), length=(?<length>\d+), file size=(?<size>\d+)\)|Unexpected size for the external weights! Expected size: (?<expected>\d+) bytes[^\n]*Actual size: (?<actual>\d+) bytes)/,
    what: ({ file, offset, length, size, expected, actual }) =>
      file !== ""
        ? `${file} has ${size} bytes; the graph reads ${length} from ${offset}`
        : `a weight has ${actual} bytes; its shape needs ${expected}`,
    fix: () => "copy the weight file again, or convert again: graph and weights are not of the same checkpoint",
  },
  {
    code: "TRT125",
    kind: "cause",
    pattern: /Failed to parse the ONNX model|MODEL_DESERIALIZE_FAILED/,
    what: () => "the file does not read as an ONNX model",
    fix: () => "check its size: 130 bytes is a Git LFS pointer (git lfs pull); otherwise copy or build it again",
  },
  {
    code: "TRT126",
    kind: "cause",
    pattern:
      /(?:Input file cannot be found, or is not a regular file: (?<file>[^\n]{1,500})|Could not open file (?<other>[^\n]{1,500}))/,
    what: ({ file = "", other = "" }) => `${file || other} is not there`,
    fix: () => "check the path",
  },
  {
    code: "TRT127",
    kind: "cause",
    pattern:
      /Node input was not registered(?<=(?:While parsing node number \d+ \[(?<op>\w{1,100})[\s\S]{0,1500}?)?Node input was not registered)/,
    what: ({ op }) => `${op === "" ? "a node" : `a ${op} node`} reads a value that nothing makes`,
    fix: () => "check the graph with onnx.checker, or build it again",
  },
  {
    code: "TRT128",
    kind: "cause",
    pattern: /Network must have at least one output/,
    what: () => "the graph has no output",
    fix: () => "check that the .onnx file is not empty, and build it again",
  },
  {
    code: "TRT129",
    kind: "cause",
    pattern:
      /MyelinCheckException: (?:utils\.cpp:3613|ssa\.cpp:698)|IIfConditionalOutputLayer inputs must have the same shape(?:\.\s+Shapes are (?<a>\[[-\d,]*\]) and (?<b>\[[-\d,]*\]))?/,
    what: ({ a = "", b }) => `an If has branches of different shapes${a === "" ? "" : `: ${a} and ${b}`}`,
    fix: () => "build context and generation as two optimization profiles of one graph, as mmtrt build does",
  },
  {
    code: "TRT130",
    kind: "cause",
    pattern: /TensorRT only supports Attention nodes with one output/,
    what: () => "an Attention node has cache inputs or outputs",
    fix: () =>
      "concatenate past and new keys before Attention (--kv_cache_type continuous), or use TensorScatter (static)",
  },
  {
    code: "TRT131",
    kind: "cause",
    pattern:
      /Setting (?<attribute>softcap|softmax precision|qk_matmul_output[^\n"]{0,40}) is not supported in TensorRT Attention/,
    what: ({ attribute }) => `Attention's ${attribute} is not supported`,
    fix: () => "write this attention out as MatMul, Softmax, MatMul",
  },
  {
    code: "TRT132",
    kind: "cause",
    pattern: /composite_op->is_decomposable\(\)\) failed\. Attention operation was not supported by a dedicated kernel/,
    what: () => "an attention has no fused kernel and may not be taken apart",
    fix: () => "set TRT_decomposable=1 on the node (mmtrt's own Attention does), or use float16 or bfloat16",
  },
  {
    code: "TRT133",
    kind: "cause",
    pattern: /Option mask cannot be used together with CausalMaskKind other than kNONE/,
    what: () => "an Attention node has a mask and is_causal",
    fix: () => "put the causal part into the mask and set is_causal to 0",
  },
  {
    code: "TRT134",
    kind: "cause",
    pattern: /(?<=(?:(?<node>[^\s(][^\n:(]{0,300}): )?)Query, Key, Value tensors must have the same head dimension/,
    what: ({ node }) => `${node === "" ? "an Attention node" : node} has query, key and value of different head sizes`,
    fix: () => "write this attention out as MatMul, Softmax, MatMul",
  },
  {
    code: "TRT136",
    kind: "cause",
    pattern:
      /(?<=(?:(?<node>[^\s(][^\n:(]{0,300}): )?)The KV cache tensor must have a static sequence length dimension/,
    what: ({ node }) => `the cache of ${node === "" ? "a TensorScatter" : node} has a dynamic length`,
    fix: () => "--kv_cache_type static with a fixed --max_seq_len, or continuous",
  },
  {
    code: "TRT137",
    kind: "cause",
    pattern: /Only linear mode is supported for now, got (?<mode>\w+)/,
    what: ({ mode }) => `TensorScatter is in ${mode} mode`,
    fix: () => "mode=linear",
  },
  {
    code: "TRT139",
    kind: "cause",
    pattern: /Unsupported ONNX data type: (?<type>\w+)/,
    what: ({ type }) => `the graph has a tensor of type ${type}`,
    fix: ({ type }) => `remove or cast the ${type} tensor before exporting`,
  },
  {
    code: "TRT140",
    kind: "cause",
    pattern: /ONNX initializer (?<name>[^\n]{1,300}?) cannot be imported into TensorRT/,
    what: ({ name }) => `the weight ${name} has an element type TensorRT does not store`,
    fix: () => "use symmetric INT4 or INT8 with DequantizeLinear; UINT4 with zero points is not supported",
  },
  {
    code: "TRT141",
    kind: "cause",
    pattern: /Quantized constant \((?<name>[^\n]{1,300}?)\) is only allowed before DQ/,
    what: ({ name }) => `the quantized weight ${name} is not followed by DequantizeLinear`,
    fix: () => "replace Cast and Mul by DequantizeLinear",
  },
  {
    code: "TRT143",
    kind: "cause",
    pattern: /failed to load (?<plugin>\w+) plugin/,
    what: ({ plugin }) => `${plugin} needs a plugin that this installation lacks`,
    fix: () => "use DequantizeLinear and MatMul, which ONNX Runtime fuses by itself",
  },
  {
    code: "TRT144",
    kind: "cause",
    pattern:
      /(?<=(?<node>[^\s(][^\n:(]{0,300}): )ElementWiseOperation (?<op>\w+) must have same input types\. But they are of types (?<a>\w+) and (?<b>\w+)/,
    what: ({ node, a, b }) => `${node} combines ${a} and ${b}`,
    fix: () => "insert a Cast; strongly typed networks convert nothing by themselves",
  },
  {
    code: "TRT138",
    kind: "cause",
    pattern:
      /(?:Shape Error \((?<said>[^\n]{1,300}?)(?: In [^\n]*)?\)?$|(?<=(?<node>[^\s(][^\n:(]{0,300}): )last dimension of input0 = (?<a>\d+) and second to last dimension of input1 = (?<b>\d+) but must match)/m,
    what: ({ said, node, a, b }) => (said !== "" ? `${said}` : `${node} multiplies [… ${a}] by [${b} …]`),
    fix: () => "the graph and its weights are of different models: build the graph again",
  },
  {
    code: "TRT145",
    kind: "cause",
    pattern: /operand\.h:524[^\n]*CHECK\(is_constant\(\)\)/,
    what: () => "a quantization node computes its block scales at run time",
    fix: () => "quantize per tensor, or scale by row and quantize with scale 1",
  },
  {
    code: "TRT146",
    kind: "cause",
    pattern: /moe_lowering\.cpp:\d+[^\n]*Cannot decompose operation/,
    what: () => "a mixture-of-experts operator has no kernel",
    fix: () => "write the experts out as MatMul and Gather, or --backend tensorrt",
  },
  {
    code: "TRT147",
    kind: "cause",
    pattern: /no fused kernel is available on this target/,
    what: () => "an attention form has no kernel on this target",
    fix: () => "use padded query and cache",
  },
  {
    code: "TRT142",
    kind: "cause",
    pattern:
      /(?<=While parsing node number \d+ \[(?<op>\w{1,100})(?: -> "(?<output>[^\n"]{0,300})")?[\s\S]{0,1500}?\[8\] )(?<said>[^\n]{1,300})/,
    what: ({ op, output, said }) => `${op} (making ${output}) is not supported${said === "false" ? "" : `: ${said}`}`,
    fix: ({ op }) => `replace ${op} by operators TensorRT has, or load a plugin for it`,
  },
  {
    code: "TRT135",
    kind: "notice",
    pattern: /Unused Input: (?<tensor>[^\n]{1,300})/,
    what: ({ tensor }) => `the input ${tensor} has no effect`,
    fix: ({ tensor }) =>
      `leave ${tensor} out of the graph; if an operator should use it, TensorRT ignored it and results are wrong`,
  },
  {
    code: "TRT148",
    kind: "notice",
    pattern: /generated with INT64 weights, while TensorRT does not natively support INT64/,
    what: () => "int64 values were narrowed to int32",
    fix: () => "nothing to do unless sizes or ids exceed 2147483647; TensorRT 10 and newer keep int64",
  },
  {
    code: "TRT149",
    kind: "notice",
    pattern:
      /(?:Running layernorm after self-attention (?:with FP16 Reduce or Pow|in FP16) may cause overflow|Detected subnormal FP16 values|weights are affected by this issue: Detected|less than smallest positive FP16 subnormal)/,
    what: () => "values leave float16's range",
    fix: () => "build with bfloat16, or keep norms in float32; mmtrt verify shows the first stage that differs",
  },
];
