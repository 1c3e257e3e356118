"""PyTorch compiled by TorchInductor."""
