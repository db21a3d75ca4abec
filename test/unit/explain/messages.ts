import type { Code } from "../../../src/diagnostics/index.ts";

/** A message as the tool printed it, and words that the finding's what and fix must hold. */
export interface RealMessage {
  readonly code: Code;
  readonly from:
    | "TensorRT-RTX 1.7.1"
    | "TensorRT 8"
    | "TensorRT 9"
    | "TensorRT 10"
    | "trtexec"
    | "TensorRT-LLM"
    | "loader";
  readonly text: string;
  readonly says: readonly string[];
}

const parse = (op: string, output: string, node: string, error: string): string =>
  [
    `ModelImporter.cpp:140: While parsing node number 0 [${op} -> "${output}"]:`,
    `ModelImporter.cpp:142: --- Begin node ---\nNode name: ${node}`,
    "ModelImporter.cpp:143: --- End node ---",
    `ModelImporter.cpp:151: ERROR: ${error}`,
  ].join("\n");

const noGpuEcho =
  "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at /_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient for CUDA runtime version))";

const rtx = "TensorRT-RTX 1.7.1";

export const REAL_MESSAGES: readonly RealMessage[] = [
  {
    code: "TRT101",
    from: "TensorRT 10",
    text: "[TRT] [E] IExecutionContext::setInputShape: Error Code 3: API Usage Error (Parameter check failed, condition: satisfyProfile. Set dimension [1,1620] for tensor input_values does not satisfy any optimization profiles. Valid range for profile 0: [1,3240]..[1,12960]. In setInputShape at runtime/api/executionContext.cpp:2372)",
    says: ["input_values was given [1,1620]", "[1,3240] to [1,12960]", "axis 1 is 1620", "at least 3240"],
  },
  {
    code: "TRT101",
    from: "TensorRT 9",
    text: "[TensorRT-LLM][ERROR] 3: [executionContext.cpp::setInputShape::2309] Error Code 3: API Usage Error (Parameter check failed at: runtime/api/executionContext.cpp::setInputShape::2309, condition: satisfyProfile Runtime dimension does not satisfy any optimization profile.)",
    says: ["does not say which", "engine directory"],
  },
  {
    code: "TRT102",
    from: "TensorRT 9",
    text: "[TRT] [E] 3: [executionContext.cpp::setInputShape::2037] Error Code 3: API Usage Error (Parameter check failed at: runtime/api/executionContext.cpp::setInputShape::2037, condition: engineDims.d[i] == dims.d[i] Static dimension mismatch while setting input shape.)",
    says: ["fixed dimension", "mmtrt inspect"],
  },
  {
    code: "TRT102",
    from: "TensorRT 10",
    text: "IExecutionContext::setInputShape: Error Code 3: API Usage Error (Parameter check failed, condition: engineDims.d[i] == dims.d[i]. Static dimension mismatch while setting input shape for input. Set dimensions are [1,3,256,256]. Expected dimensions are [-1,3,336,336]. In setInputShape at /_src/runtime/api/executionContext.cpp:2322)",
    says: ["input was given [1,3,256,256]", "[-1,3,336,336]"],
  },
  {
    code: "TRT103",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 4: Internal Error (kOPT values for profile 0 violate shape constraints: add: dimensions not compatible for elementwise. Broadcast has incompatible dimensions: 4 != 3 && 4 != 1 && 3 != 1. In operator() at /_src/runtime/core/shapeMachine.cpp:652 In evaluateShapeChecks at /_src/optimizer/common/shapeCompiler.cpp:1375)",
    says: ["profile 0", "at add, dimensions not compatible", "4 != 3", "attention_mask = past + sequence length"],
  },
  {
    code: "TRT103",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 4: Internal Error (kOPT values for profile 0 violate shape constraints: layers.0/attention/sdpa/MatMul: tensor volume exceeds 1099511627776, dimensions are [1,2,3,seq,(+ seq past)] Volume exceeds limit In checkVolume at /_src/runtime/core/shapeMachine.cpp:469 In evaluateShapeChecks at /_src/optimizer/common/shapeCompiler.cpp:1375)",
    says: ["tensor volume exceeds 1099511627776", "--use_paged_context_fmha --max_num_tokens 8192"],
  },
  {
    code: "TRT104",
    from: rtx,
    text: "Profile kMAX values are not self-consistent. add: dimensions not compatible for elementwise. Broadcast has incompatible dimensions: 9 != 5 && 9 != 1 && 5 != 1. In operator() at /_src/runtime/core/shapeMachine.cpp:652 Instruction: CHECK_BROADCAST 9 5. In executeContinuation at /_src/runtime/core/shapeMachine.cpp:1103",
    says: ["max sizes do not go together", "9 != 5"],
  },
  {
    code: "TRT104",
    from: rtx,
    text: "Profile kMIN values are not self-consistent. ptable: cannot do non-empty gather from an empty axis Condition '<' violated: 0 >= 0. In operator() at /_src/runtime/core/shapeMachine.cpp:628 Instruction: CHECK_LESS 0 0. In executeContinuation at /_src/runtime/core/shapeMachine.cpp:1103",
    says: ["min sizes do not go together", "empty axis"],
  },
  {
    code: "TRT105",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Dynamic input tensor ptable is missing dimensions in profile 0. In validate at /_src/optimizer/api/network.cpp:4038)",
    says: ["profile 0 has no range for ptable"],
  },
  {
    code: "TRT106",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network has dynamic or shape inputs, but no optimization profile has been defined. In validate at /_src/optimizer/api/network.cpp:4023)",
    says: ["no usable optimization profile"],
  },
  {
    code: "TRT107",
    from: rtx,
    text: `IOptimizationProfile::isValid: Error Code 4: API Usage Error (Invalid optimization profiles for input tensors x, please ensure that the optimization profiles satisfy MIN<=OPT<=MAX. In isValid at /_src/optimizer/api/optimizationProfile.cpp:367)\n${noGpuEcho}`,
    says: ["range of x is not min ≤ opt ≤ max"],
  },
  {
    code: "TRT108",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Dimension mismatch for tensor x and profile 0. At dimension axis 2, profile has min=18, opt=18, max=18 but tensor has 19. In validate at /_src/optimizer/api/network.cpp:4054)",
    says: ["x axis 2 is fixed at 19", "18…18…18", "give x axis 2 19"],
  },
  {
    code: "TRT109",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Dynamic-shaped input tensor x has 3 dimensions but profile 0 has 2 dimensions. In validate at /_src/optimizer/api/network.cpp:4048)",
    says: ["x has 3 dimensions", "gives 2"],
  },
  {
    code: "TRT110",
    from: "trtexec",
    text: '[11/22/2026-05:12:12] [E] Cannot find input tensor with name "inputids" in the network inputs! Please make sure the input tensor names are correct.',
    says: ["no input inputids"],
  },
  {
    code: "TRT111",
    from: "trtexec",
    text: "[11/22/2026-05:12:12] [W] Dynamic dimensions required for input: past_key_0, but no shapes were provided. Automatically overriding shape to: 1x4x1x64",
    says: ["past_key_0", "1x4x1x64 alone", "add past_key_0"],
  },
  {
    code: "TRT112",
    from: "trtexec",
    text: "[11/22/2026-05:12:12] [E] Found invalid or missing shape spec at profile index 0. ",
    says: ["profile 0 lacks shapes", "--profile=N"],
  },
  {
    code: "TRT113",
    from: "trtexec",
    text: "[11/22/2026-05:12:12] [E] Static model does not take explicit shapes since the shape of inference tensors will be determined by the model itself",
    says: ["no dynamic input", "leave out --minShapes"],
  },
  {
    code: "TRT121",
    from: rtx,
    text: parse(
      "FooBar",
      "y",
      "foo",
      'onnxOpCheckers.cpp:998 In function checkFallbackPluginImporter:\n[6] creator && "Plugin not found, are the plugin name, version, and namespace correct?"',
    ),
    says: ["FooBar (making y)", "--plugins"],
  },
  {
    code: "TRT121",
    from: "TensorRT 8",
    text: "In node 2 (parseGraph): UNSUPPORTED_NODE: No importer registered for op: NonZero",
    says: ["NonZero"],
  },
  {
    code: "TRT122",
    from: rtx,
    text: "WeightsContext.cpp:203: Failed to open file: /models/llm/gone.safetensors\nModelImporter.cpp:151: ERROR: ModelImporter.cpp:899 In function importInitializers:\n[5] Failed to import initializer: In node -1 with name:  and operator:  (importInitializers): UNSUPPORTED_NODE: Assertion failed: ctx->getWeightsContext().convertOnnxWeights(initializer, &weights): Failed to import initializer: w",
    says: ["/models/llm/gone.safetensors is missing", "gone.safetensors beside the .onnx"],
  },
  {
    code: "TRT122",
    from: rtx,
    text: "WeightsContext.cpp:203: Failed to open file: tmp/trt/w.bin",
    says: ["tmp/trt/w.bin is missing", "relative to the .onnx"],
  },
  {
    code: "TRT123",
    from: rtx,
    text: "WeightsContext.cpp:222: ONNX external weights offset/length out of range for file: short.bin (offset=0, length=4096, file size=100)",
    says: ["short.bin has 100 bytes", "reads 4096 from 0"],
  },
  {
    code: "TRT123",
    from: rtx,
    text: "WeightsContext.cpp:288: Unexpected size for the external weights! Expected size: 4096 bytes (shape = (64, 32)). Actual size: 4095 bytes.",
    says: ["a weight has 4095 bytes", "needs 4096"],
  },
  {
    code: "TRT124",
    from: rtx,
    text: "WeightsContext.cpp:183: Relative paths to parent (../) are not allowed in ONNX external weights! Normalized path is: ../trt/w.bin",
    says: ["../trt/w.bin lies outside", "--copy_weights"],
  },
  {
    code: "TRT125",
    from: rtx,
    text: "(deserializeOnnxModel): MODEL_DESERIALIZE_FAILED: Assertion failed: model->ParseFromCodedStream(&codedInput): Failed to parse the ONNX model.",
    says: ["does not read as an ONNX model", "git lfs pull"],
  },
  {
    code: "TRT126",
    from: rtx,
    text: "In node -1 with name:  and operator:  (parseFromFile): INVALID_VALUE: Assertion failed: stat(onnxModelFile, &sb) == 0 && S_ISREG(sb.st_mode): Input file cannot be found, or is not a regular file: nofile.onnx",
    says: ["nofile.onnx is not there"],
  },
  {
    code: "TRT127",
    from: rtx,
    text: parse(
      "Relu",
      "y",
      "r",
      "ModelImporter.cpp:356 In function parseNode:\n[5] Assertion failed: (ctx->tensors().count(inputName)): Node input was not registered.",
    ),
    says: ["a Relu node reads a value that nothing makes"],
  },
  {
    code: "TRT128",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network must have at least one output. In validate at /_src/optimizer/api/network.cpp:3810)",
    says: ["no output"],
  },
  {
    code: "TRT129",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([myelin_graph.h:1295: attachExceptionMsgToGraph] MyelinCheckException: utils.cpp:3613: CHECK(false) failed.  In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
    says: ["branches of different shapes", "two optimization profiles"],
  },
  {
    code: "TRT129",
    from: "TensorRT 10",
    text: "/bb/rope_embeddings/If_OutputLayer: IIfConditionalOutputLayer inputs must have the same shape. \nShapes are [2] and [1].",
    says: ["[2] and [1]"],
  },
  {
    code: "TRT130",
    from: rtx,
    text: parse(
      "Attention",
      "y",
      "att",
      "onnxOpImporters.cpp:214 In function importAttention:\n[6] Assertion failed: node.output().size() == 1: TensorRT only supports Attention nodes with one output.",
    ),
    says: ["cache inputs or outputs", "--kv_cache_type continuous"],
  },
  {
    code: "TRT131",
    from: rtx,
    text: parse(
      "Attention",
      "y",
      "att",
      'onnxOpCheckers.cpp:194 In function checkAttention:\n[8] softcap == 0.0 && "Setting softcap is not supported in TensorRT Attention."',
    ),
    says: ["Attention's softcap"],
  },
  {
    code: "TRT131",
    from: rtx,
    text: parse(
      "Attention",
      "y",
      "att",
      'onnxOpCheckers.cpp:198 In function checkAttention:\n[8] !hasSoftmaxPrecision && "Setting softmax precision is not supported in TensorRT Attention."',
    ),
    says: ["Attention's softmax precision"],
  },
  {
    code: "TRT132",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([myelin_graph.h:1295: attachExceptionMsgToGraph] MyelinCheckException: decompose_composite_ops.cpp:59: CHECK(composite_op->is_decomposable()) failed. Attention operation was not supported by a dedicated kernel.  (See https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-with-transformers.html#multi-head-attention-fusion for shapes and datatypes with dedicated kernels.)  Alternatively, padded attention operation may be marked as decomposable, using the TensorRT)",
    says: ["no fused kernel", "TRT_decomposable=1"],
  },
  {
    code: "TRT133",
    from: rtx,
    text: `IAttention::setMask: Error Code 3: API Usage Error (Parameter check failed, condition: mAttentionOutputLayer.getParams().causalKind == CausalMaskKind::kNONE. Option mask cannot be used together with CausalMaskKind other than kNONE. In setMask at /_src/optimizer/api/attention.cpp:107)\n${noGpuEcho}`,
    says: ["a mask and is_causal"],
  },
  {
    code: "TRT134",
    from: rtx,
    text: `ITensor::getDimensions: Error Code 3: API Usage Error (att_AttentionInput: Query, Key, Value tensors must have the same head dimension In validate at /_src/optimizer/api/layers/attentionInputLayer.cpp:184)\n${noGpuEcho}`,
    says: ["att_AttentionInput has query"],
  },
  {
    code: "TRT135",
    from: rtx,
    text: "Unused Input: len",
    says: ["the input len has no effect", "results are wrong"],
  },
  {
    code: "TRT136",
    from: rtx,
    text: `ITensor::getDimensions: Error Code 3: API Usage Error (kv: The KV cache tensor must have a static sequence length dimension. In validate at /_src/optimizer/api/layers/kVCacheUpdateLayer.cpp:129)\n${noGpuEcho}`,
    says: ["the cache of kv", "fixed --max_seq_len"],
  },
  {
    code: "TRT137",
    from: rtx,
    text: parse(
      "TensorScatter",
      "y",
      "kv",
      'onnxOpImporters.cpp:8230 In function importTensorScatter:\n[8] Assertion failed: mode == "linear": Only linear mode is supported for now, got circular',
    ),
    says: ["circular mode"],
  },
  {
    code: "TRT138",
    from: rtx,
    text: `ITensor::getDimensions: Error Code 4: Shape Error (reshape changes volume. Reshaping [3,64] to [5,7]. In operator() at /_src/optimizer/common/shape/shapeContext.cpp:4633)\n${noGpuEcho}`,
    says: ["Reshaping [3,64] to [5,7]"],
  },
  {
    code: "TRT138",
    from: rtx,
    text: `ITensor::getDimensions: Error Code 4: API Usage Error (mmx: last dimension of input0 = 63 and second to last dimension of input1 = 64 but must match. In validate at /_src/optimizer/api/layers/matrixMultiplyLayer.cpp:192)\n${noGpuEcho}`,
    says: ["mmx multiplies [… 63] by [64 …]"],
  },
  {
    code: "TRT139",
    from: rtx,
    text: 'Unsupported ONNX data type: STRING (8)\nModelImporter.cpp:151: ERROR: x:992 In function importInput:\n[8] Assertion failed: convertDtype(onnxDtype.elem_type(), &trtDtype) && "Failed to convert ONNX date type to TensorRT data type."',
    says: ["type STRING"],
  },
  {
    code: "TRT140",
    from: rtx,
    text: "WeightsContext.cpp:322: ONNX initializer q cannot be imported into TensorRT!",
    says: ["the weight q", "DequantizeLinear"],
  },
  {
    code: "TRT141",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Quantized constant (q) is only allowed before DQ or PLUGIN_V2 or kPLUGIN_V3 node. If this constant is not intended as a quantized floating-point value, consider using other data types such as kBOOL, kINT32, or kINT64 instead. In matchQuantizedConstantPluginOrDQ at /_src/optimizer/common/rewrite/qdqGraphOptimizer.cpp:4327)",
    says: ["the quantized weight q"],
  },
  {
    code: "TRT142",
    from: rtx,
    text: parse("MatMulInteger", "y", "mmi", "onnxOpCheckers.cpp:1140 In function checkMatMulInteger:\n[8] false"),
    says: ["MatMulInteger (making y) is not supported"],
  },
  {
    code: "TRT143",
    from: rtx,
    text: parse(
      "MatMulNBits",
      "y",
      "nb",
      "onnxOpImporters.cpp:6390 In function importMatMulNBits:\n[6] Assertion failed: creator && getPluginCreatorVersion(creator) == CreatorVersion::kV3ONE: failed to load MatMulNBits plugin.",
    ),
    says: ["MatMulNBits needs a plugin"],
  },
  {
    code: "TRT144",
    from: rtx,
    text: `ITensor::getDimensions: Error Code 4: API Usage Error (add_mixed: ElementWiseOperation SUM must have same input types. But they are of types Half and Float. In validateTypes at /_src/optimizer/common/nodes/elementWiseNode.cpp:40)\n${noGpuEcho}`,
    says: ["add_mixed combines Half and Float"],
  },
  {
    code: "TRT145",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([myelin_graph.h:1295: attachExceptionMsgToGraph] MyelinCheckException: operand.h:524: CHECK(is_constant()) failed.  In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
    says: ["block scales at run time"],
  },
  {
    code: "TRT146",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([moe_lowering.cpp:31: lower] Cannot decompose operation In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
    says: ["no kernel", "MatMul and Gather"],
  },
  {
    code: "TRT147",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Myelin (Attention with packed query and padded key/value: no fused kernel is available on this target In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
    says: ["no kernel on this target"],
  },
  {
    code: "TRT148",
    from: "TensorRT 8",
    text: "[04/22/2022-21:36:34] [TRT] [W] onnx2trt_utils.cpp:365: Your ONNX model has been generated with INT64 weights, while TensorRT does not natively support INT64. Attempting to cast down to INT32.",
    says: ["narrowed to int32", "2147483647"],
  },
  {
    code: "TRT149",
    from: "TensorRT 8",
    text: "[W] [TRT] Running layernorm after self-attention in FP16 may cause overflow. Exporting the model to the latest available ONNX opset (later than opset 17) to use the INormalizationLayer, or forcing layernorm layers to run in FP32 precision can help with preserving accuracy.",
    says: ["bfloat16"],
  },
  {
    code: "TRT161",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:1500: run_passes] Cannot compile for target(s) sm86, because the model contains HW-specific datatypes: fp8_e4m3. In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
    says: ["sm86 cannot compute in fp8_e4m3", "89,120,121"],
  },
  {
    code: "TRT161",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:1500: run_passes] Cannot compile for target(s) sm75, because the model contains HW-specific datatypes: b16. In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
    says: ["sm75 cannot compute in b16", "80 and above"],
  },
  {
    code: "TRT162",
    from: rtx,
    text: "Error Code 1: Myelin (Target SM 86 is not found in the accelerator list)",
    says: ["SM 86", "process of its own"],
  },
  {
    code: "TRT163",
    from: rtx,
    text: `IBuilderConfig::setComputeCapability: Error Code 3: API Usage Error (Parameter check failed, condition: (index == 0) && (mConfig.computeCapabilities.size() == 1). When set to kCURRENT, the index must be 0 and the number of compute capabilities must be 1. In setComputeCapability at /_src/optimizer/api/builderConfig.cpp:802)\n${noGpuEcho}`,
    says: ["kCURRENT"],
  },
  {
    code: "TRT164",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([myelin_graph.h:1295: attachExceptionMsgToGraph] MyelinCheckException: graph_jit.cpp:278: CHECK(status == CUDA_SUCCESS) failed.  In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
    says: ["machine without a GPU"],
  },
  {
    code: "TRT165",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Myelin (MyelinCheckException: kernel_gen.cpp:1249: CHECK(sm_vers_.size()==1) failed.  In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
    says: ["several compute capabilities"],
  },
  {
    code: "TRT166",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 6: API Usage Error (Unable to load library: libnvinfer_lean.so.1: libnvinfer_lean.so.1: cannot open shared object file: No such file or directory In Impl at /_src/runtime/dispatch/libLoader.cpp:305)",
    says: ["libnvinfer_lean.so.1 is missing", "version_compatible"],
  },
  {
    code: "TRT167",
    from: rtx,
    text: `IBuilderConfig::setRuntimePlatform: Error Code 3: API Usage Error (Parameter check failed, condition: runtimePlatform != RuntimePlatform::kWINDOWS_AMD64. This version of TensorRT does not support building engines on platforms other than Linux x86_64 when the runtime platform is set to Windows x86_64. In setRuntimePlatform at /_src/optimizer/api/builderConfig.cpp:835)\n${noGpuEcho}`,
    says: ["engine for Windows"],
  },
  {
    code: "TRT168",
    from: "TensorRT 10",
    text: "IBuilder::buildSerializedNetwork: Error Code 9: API Usage Error (Networks with BF16 precision require hardware with BF16 support. In validateNetwork at optimizer/api/builder.cpp:1215)",
    says: ["the GPU has no BF16", "SM 80"],
  },
  {
    code: "TRT169",
    from: rtx,
    text: "setHardwareCompatibilityLevel() is unsupported in TensorRT-RTX.",
    says: ["is ignored", "--compute_capabilities"],
  },
  {
    code: "TRT170",
    from: "trtexec",
    text: "[06/07/2022-19:05:53] [E] Error[10]: [optimizer.cpp::computeCosts::2011] Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[onnx::Gather_72...ScatterND_170]}.)",
    says: ["{ForeignNode[onnx::Gather_72...ScatterND_170]}", "--builder_optimization_level 5"],
  },
  {
    code: "TRT171",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([tactic.cpp:1676: enumerate_tactics] Tactic Selection: no tactics to implement the operation within workspace limit. Consider increase the allowed workspace size if applicable.; [tactic.cpp:264: run] Error during tactic selection. In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
    says: ["workspace limit is too small"],
  },
  {
    code: "TRT172",
    from: rtx,
    text: "[fileUtils.cpp::fileSize::25] Error Code 2: Internal Error (Assertion targetFile.is_open() failed. Cannot open file /plugins/nope.so In fileSize at /_src/common/extended/fileUtils.cpp:25)",
    says: ["/plugins/nope.so cannot be opened"],
  },
  {
    code: "TRT173",
    from: "TensorRT 8",
    text: "[E] 1: [stdArchiveReader.cpp::nvinfer1::rt::StdArchiveReader::StdArchiveReaderInitCommon::46] Error Code 1: Serialization (Serialization assertion stdVersionRead == serializationVersion failed.Version tag does not match. Note: Current Version: 228, Serialized Engine Version: 213)\n\n[E] 4: The timing cache will not be used!",
    says: ["timing cache is of another version"],
  },
  {
    code: "TRT181",
    from: "trtexec",
    text: "[E] Error[2]: [virtualMemoryBuffer.cpp::resizePhysical::145] Error Code 2: OutOfMemory (Requested size was 34359738368 bytes.)",
    says: ["32.0 GiB", "--max_batch_size"],
  },
  {
    code: "TRT182",
    from: "TensorRT 8",
    text: "[11/05/2022-02:13:32] [W] [TRT] Tactic Device request: 2218MB Available: 2189MB. Device memory is insufficient to use tactic.",
    says: ["2218 MB", "2189 MB are free"],
  },
  {
    code: "TRT182",
    from: "TensorRT 8",
    text: "[02/19/2022-21:14:43] [TRT] [W] Skipping tactic 0 due to insuficient memory on requested size of 1170309120 detected for tactic 0.",
    says: ["1.1 GiB was skipped"],
  },
  {
    code: "TRT183",
    from: "loader",
    text: "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc",
    says: ["no more memory", "--workers 1"],
  },
  { code: "TRT183", from: "loader", text: "+ trtexec --onnx=m.onnx\nKilled\n", says: ["no more memory"] },
  {
    code: "TRT184",
    from: "trtexec",
    text: "[11/22/2026-05:12:12] [E] Saving engine to file failed.",
    says: ["could not be written whole"],
  },
  {
    code: "TRT201",
    from: "TensorRT 10",
    text: "[TRT] [E] IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: Current Version: 240, Serialized Engine Version: 239)",
    says: ["the engine has format 239", "reads 240"],
  },
  {
    code: "TRT202",
    from: "TensorRT 8",
    text: "[E] 6: The engine plan file is not compatible with this version of TensorRT, expecting library version 8.6.1.6 got 8.5.2.2, please rebuild.",
    says: ["built by 8.5.2.2, this is 8.6.1.6"],
  },
  {
    code: "TRT203",
    from: "TensorRT 10",
    text: "[10/10/2025-17:37:58] [TRT] [E] 6: The engine plan file is generated on an incompatible device, expecting compute 9.0 got compute 8.9, please rebuild.",
    says: ["for compute capability 8.9, this GPU has 9.0"],
  },
  {
    code: "TRT204",
    from: "trtexec",
    text: "[01/15/2026-07:20:09] [E] Error[1]: [runtime.cpp::parsePlan::455] Error Code 1: Serialization (Serialization assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.Trying to load an engine created with incompatible serialization version. Check that the engine was not created using safety runtime, same OS was used and version compatibility parameters were set accordingly.)",
    says: ["does not start as an engine"],
  },
  {
    code: "TRT205",
    from: rtx,
    text: "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine cannot run on this GPU, which has compute capability 9.0)",
    says: ["compute capability 9.0", "--backend tensorrt"],
  },
  {
    code: "TRT206",
    from: "TensorRT 8",
    text: "[W] [TRT] Using an engine plan file across different models of devices is not recommended and is likely to affect performance or even cause errors.",
    says: ["another GPU model"],
  },
  {
    code: "TRT221",
    from: "loader",
    text: "OSError: /engines/libmmtrt_plugins.so: cannot open shared object file: No such file or directory",
    says: ["/engines/libmmtrt_plugins.so cannot be opened", "ldd"],
  },
  {
    code: "TRT222",
    from: "TensorRT 8",
    text: "[06/30/2023-01:58:45] [E] [TRT] 3: getPluginCreator could not find plugin: SplitToSequence version: 1",
    says: ["SplitToSequence version 1"],
  },
  {
    code: "TRT222",
    from: "TensorRT 8",
    text: "[TensorRT] ERROR: INVALID_ARGUMENT: getPluginCreator could not find plugin InstanceNormalization_TRT version 1",
    says: ["InstanceNormalization_TRT version 1"],
  },
  {
    code: "TRT223",
    from: rtx,
    text: "terminate called without an active exception\nAborted (core dumped)",
    says: ["libtensorrt_rtx.so is missing", "ln -s"],
  },
  {
    code: "TRT224",
    from: "loader",
    text: "OSError: ./libplugins.so: undefined symbol: _ZN8nvinfer111IPluginV3D0Ev",
    says: ["./libplugins.so needs _ZN8nvinfer111IPluginV3D0Ev"],
  },
  {
    code: "TRT225",
    from: "loader",
    text: "Cuda failure: no kernel image is available for execution on the device",
    says: ["no kernel for this GPU"],
  },
  {
    code: "TRT241",
    from: rtx,
    text: "IBuilder::buildSerializedNetwork: Error Code 1: Cuda Runtime (In generateForCurrent at /_src/runtime/core/cudaDeviceProfile.cpp:221 (cudaError 35: CUDA driver version is insufficient for CUDA runtime version))",
    says: ["no usable GPU", "--backend tensorrt_rtx"],
  },
  {
    code: "TRT241",
    from: "TensorRT 10",
    text: "[TRT] CUDA initialization failure with error: 35. Please check your CUDA installation: http://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html",
    says: ["nvidia-smi"],
  },
  {
    code: "TRT243",
    from: "TensorRT 10",
    text: "[E] IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (an illegal memory access was encountered)",
    says: ["left its memory"],
  },
  {
    code: "TRT244",
    from: "loader",
    text: "trtexec: error while loading shared libraries: libnvinfer.so.10: cannot open shared object file: No such file or directory",
    says: ["the program needs libnvinfer.so.10", "LD_LIBRARY_PATH"],
  },
  {
    code: "TRT245",
    from: "loader",
    text: "Unable to load library: libnccl.so.2: libnccl.so.2: cannot open shared object file: No such file or directory",
    says: ["libnccl.so.2", "nvidia-nccl"],
  },
  {
    code: "TRT261",
    from: "trtexec",
    text: "[11/22/2026-05:12:12] [E] Unknown option: --fp16 ",
    says: ["does not know --fp16"],
  },
  {
    code: "TRT262",
    from: "trtexec",
    text: "[11/22/2026-05:12:12] [E] Model missing or format not recognized",
    says: ["--onnx=FILE"],
  },
  {
    code: "TRT263",
    from: "trtexec",
    text: "[06/07/2022-19:05:53] [E] Engine could not be created from network\n[06/07/2022-19:05:53] [E] Building engine failed\n[06/07/2022-19:05:53] [E] Failed to create engine from model.\n[06/07/2022-19:05:53] [E] Engine set up failed",
    says: ["earlier error"],
  },
  {
    code: "TRT264",
    from: "TensorRT-LLM",
    text: "[TRT-LLM] [W] Cannot find /ckpt/rank1.safetensors. Use dummy model weights.",
    says: ["/ckpt/rank1.safetensors is missing"],
  },
];
