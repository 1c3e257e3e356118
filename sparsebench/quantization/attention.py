"""The fast path of torch's transformers, one kernel for a whole layer: off where a network is followed or converted.

In evaluation, ``nn.TransformerEncoder`` and ``nn.MultiheadAttention`` hand their weights to a kernel of their own, and
padded sequences to nested tensors. No graph of them can be taken, and the kernel does not know of int8 layers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def plain_attention() -> Iterator[None]:
    """Let transformers compute operation by operation for a while, as they do in training."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def layer_by_layer(net: nn.Module) -> nn.Module:
    """Let the transformers of ``net`` call their layers for good, in place, as these were replaced; return ``net``."""
    for module in net.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
        elif isinstance(module, nn.TransformerEncoderLayer):
            # With a hook of any kind, torch leaves the fast path by itself.
            module.register_forward_pre_hook(_as_it_is)
    return net


def _as_it_is(_: nn.Module, inputs: Any) -> Any:
    return inputs
