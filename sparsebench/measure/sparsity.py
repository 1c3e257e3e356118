"""How many weights are zero."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def count_zeros(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Return ``(elements, zeros)`` of each of some tensors; see ``count_nonzero`` for quantized ones."""
    return {name: (tensor.numel(), tensor.numel() - count_nonzero(tensor)) for name, tensor in tensors.items()}


def parameter_counts(net: nn.Module) -> tuple[int, int]:
    """Return the number of parameters of ``net`` and how many of them are zero; a tied parameter counts once."""
    counts = count_zeros(dict(net.named_parameters())).values()
    return sum(elements for elements, _ in counts), sum(zeros for _, zeros in counts)


def count_nonzero(tensor: Tensor) -> int:
    """Return how many elements are not zero; for a quantized tensor, how many differ from the zero point."""
    # q·scale − zero_point·scale is zero for q = zero_point alone, so counting after dequantizing is exact.
    return int(torch.count_nonzero(tensor.detach().dequantize()))
