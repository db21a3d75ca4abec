/** A build's log in trtexec's words, two profiles. */
const LINES: readonly string[] = [
  "&&&& RUNNING TensorRT.trtexec [TensorRT v101600] [b42] # trtexec --onnx=m.onnx --saveEngine=m.engine.partial",
  "[I] === Model Options ===",
  "[I] TensorRT version: 10.16.0",
  "[I] Start parsing network model.",
  "[I] [TRT] Input filename:   m.onnx",
  "[W] [TRT] ModelImporter.cpp:1071: Make sure input write_indices has Int64 binding.",
  "[I] Finished parsing network model. Parse time: 0.0021",
  "[I] [TRT] Local timing cache in use. Profiling results in this builder pass will not be stored.",
  "[I] [TRT] Compiler backend is used during engine build.",
  "[I] [TRT] Detected 2 inputs and 1 output network tensors.",
  "[I] [TRT] Total Host Persistent Memory: 80 bytes",
  "[I] [TRT] Total Activation Memory: 8193536 bytes",
  "[I] [TRT] Total Weights Memory: 576 bytes",
  "[I] [TRT] Total Activation Memory: 4096 bytes",
  "[I] [TRT] Engine generation completed in 8.5 seconds.",
  "[I] Created engine with size: 0.28 MiB",
  "[I] Engine built in 9.12 sec.",
  "[I] Optimization Profile Information:",
  "[I] Model input x (profile 0): min=1x1x19, opt=2x3x19, max=4x5x19",
  "[I] Model input x (profile 1): min=1x1x19, opt=2x1x19, max=4x1x19",
  "[I] Skipped inference phase since --skipInference is added.",
  "&&&& PASSED TensorRT.trtexec [TensorRT v101600] [b42] # trtexec --onnx=m.onnx --saveEngine=m.engine.partial",
];

export const SUCCESS_LOG: readonly string[] = LINES.map(line =>
  line.startsWith("[") ? `[11/22/2026-05:12:12] ${line}` : line,
);
