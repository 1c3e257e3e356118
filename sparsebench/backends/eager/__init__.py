"""PyTorch itself, as it runs without a compiler."""
