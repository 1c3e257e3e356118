"""The memory layout of images and of the weights of convolutions during training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.errors import TrainingError
from sparsebench.registry import unknown_name

_CHOICES = ("auto", "on", "off")


def wants_channels_last(setting: str, net: nn.Module, device: torch.device, amp: str) -> bool:
    """Whether training lays out images and weights with their channels last.

    ``auto`` does where it is faster: networks with two-dimensional convolutions on a CPU (ResNet-20 at batch 128 by
    1.4, small networks by 1.2 to 1.3), and on a GPU in half precision, whose kernels want it.

    Args:
        setting: ``auto``, ``on`` or ``off``.
        net: the network.
        device: where it is trained.
        amp: the precision of autocast.

    Raises:
        TrainingError: where there is no such setting.
    """
    if setting not in _CHOICES:
        raise TrainingError(unknown_name("channels_last", setting, _CHOICES))
    if setting != "auto":
        return setting == "on"
    convolutions = any(isinstance(module, nn.Conv2d) for module in net.modules())
    return convolutions and (device.type == "cpu" or amp != "none")


@contextmanager
def channels_last_weights(net: nn.Module, wanted: bool) -> Iterator[None]:
    """Keep the weights of ``net`` with their channels last for a while, in place; the parameters stay the same objects.

    Afterwards they are contiguous, so that nothing that is done with the network depends on how it was trained.
    Optimizers have to be built within: their fused kernels want their state in the layout of the weights.
    """
    if not wanted:
        yield
        return
    _lay_out(net, torch.channels_last)
    try:
        yield
    finally:
        _lay_out(net, torch.contiguous_format)


def channels_last(inputs: Any) -> Any:
    """Return images (N, C, H, W) with their channels last, and anything else as it is."""
    if isinstance(inputs, Tensor) and inputs.dim() == 4:
        return inputs.contiguous(memory_format=torch.channels_last)
    return inputs


def _lay_out(net: nn.Module, memory_format: torch.memory_format) -> None:
    for parameter in net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
