"""LiteRT, which was TensorFlow Lite, on the CPU: XNNPACK's kernels, int8 by AI Edge Quantizer."""
