"""ONNX Runtime on the CPU, quantized by its own tools."""
