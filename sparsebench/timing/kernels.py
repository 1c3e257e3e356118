"""Which operators PyTorch runs for want of a faster one; a speedup beside them says more of them than of a network."""

import os
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

FALLBACKS = {
    "aten::_slow_conv2d_forward": "convolution without oneDNN (aten::_slow_conv2d_forward)",
    "aten::slow_conv3d_forward": "convolution without oneDNN (aten::slow_conv3d_forward)",
    "aten::slow_conv_dilated2d": "dilated convolution without oneDNN (aten::slow_conv_dilated2d)",
    "aten::slow_conv_transpose2d": "transposed convolution without oneDNN (aten::slow_conv_transpose2d)",
}
"""Operators that PyTorch falls back to on a CPU, and what they are. Which convolution is taken depends on the batch and
the number of threads: ``ConvParams::use_mkldnn`` in ATen's Convolution.cpp."""


def operators(network: nn.Module, inputs: tuple[Any, ...], threads: int) -> frozenset[str]:
    """Return the names of the operators that one forward pass runs, as PyTorch's profiler sees them.

    Args:
        network: in evaluation mode, on the CPU.
        inputs: positional arguments of the forward pass.
        threads: of torch inside one operation.
    """
    before = torch.get_num_threads()
    # The profiler's library otherwise writes to the terminal that it starts, stops, and finds no GPU.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            network(*inputs)
    finally:
        torch.set_num_threads(before)
    return frozenset(event.key for event in seen.key_averages())


def fallback_kernels(names: Collection[str]) -> tuple[str, ...]:
    """Return which of ``FALLBACKS`` are among the names of operators."""
    return tuple(text for name, text in FALLBACKS.items() if name in names)


def depends_on_values(names: Collection[str]) -> bool:
    """Whether one of these operators takes longer or shorter with the values that it is fed.

    Max pooling compares, and a processor guesses how comparisons end: among zeros it guesses better, so that a masked
    network may take less time than its dense one, by some percent.
    """
    return any("max_pool" in name for name in names)
