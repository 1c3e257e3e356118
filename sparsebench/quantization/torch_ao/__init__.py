"""All that is used of torch.ao, which torch will drop. Where it is gone, no network is int8 by it, and all else works.

What others than the schemes of torch.ao need stands here; the schemes themselves take it from ``layers``.
"""

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

try:
    from sparsebench.quantization.torch_ao import layers, qat
except ImportError as error:
    if not (error.name or "").startswith("torch.ao"):
        raise
    layers = qat = None  # type: ignore[assignment]

OBSERVERS: tuple[type[nn.Module], ...] = layers.OBSERVERS if layers else ()
"""What torch.ao puts into a network to learn ranges."""


def int8_weights(module: nn.Module) -> list[Tensor]:
    """Return the weights of a layer that torch.ao quantized; none for any other module."""
    return layers.int8_weights(module) if layers else []


def has_stubs(net: nn.Module) -> bool:
    """Whether the author of a network marked with ``QuantStub`` what is to be quantized."""
    return bool(layers) and layers.has_stubs(net)


def settling(prepared: nn.Module, steps: int) -> AbstractContextManager[nn.Module]:
    """Let the ranges and the batch norms of a network under quantization-aware training come to rest.

    Args:
        prepared: a network with fake quantization, about to be trained.
        steps: training steps in all, that is forward passes in training mode.
    """
    return qat.settling(prepared, steps) if qat else nullcontext(prepared)
