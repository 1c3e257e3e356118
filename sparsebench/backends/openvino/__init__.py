"""OpenVINO on the CPU, quantized by NNCF."""
