"""Builds one TensorRT engine from one ONNX file, over whichever TensorRT bindings this Python can import."""
