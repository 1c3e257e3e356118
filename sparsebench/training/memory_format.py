"""The memory layout of images and of the weights of convolutions while a network is trained or evaluated."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.errors import TrainingError
from sparsebench.registry import unknown_name

_CHOICES = ("auto", "on", "off")


def wants_channels_last(setting: str, net: nn.Module, device: torch.device, amp: str) -> bool:
    """Whether images and weights are laid out with their channels last.

    ``auto`` does where it is faster: networks with two-dimensional convolutions on a CPU (ResNet-20 trains at batch 128
    by 1.4 faster, small networks by 1.2 to 1.3), and on a GPU in half precision, whose kernels want it.

    Raises:
        TrainingError: where the setting is not ``auto``, ``on`` or ``off``.
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

    Afterwards they are as they were, and contiguous where they were replaced meanwhile, so that nothing that is done
    with the network depends on it. Optimizers have to be built within: their fused kernels want their state in the
    layout of the weights.
    """
    if not wanted:
        yield
        return
    before = {weight: weight.is_contiguous() for weight in _weights_of_images(net)}
    for weight in before:
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for weight in _weights_of_images(net):
            if before.get(weight, True):
                weight.data = weight.data.contiguous()


def channels_last(inputs: Any) -> Any:
    """Return images (N, C, H, W) with their channels last, and anything else as it is."""
    if isinstance(inputs, Tensor) and inputs.dim() == 4:
        return inputs.contiguous(memory_format=torch.channels_last)
    return inputs


def _weights_of_images(net: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in net.parameters() if parameter.dim() == 4]
