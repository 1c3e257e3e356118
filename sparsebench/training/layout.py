"""How images and weights lie in memory in training: with their channels first, or last, which is often faster."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.errors import TrainingError
from sparsebench.registry import unknown_name
from sparsebench.tensors import cloned, mapped

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
    faster = device.type == "cpu" or amp != "none"
    return faster and any(isinstance(module, nn.Conv2d) for module in net.modules())


def channels_last(inputs: Any) -> Any:
    """Return inputs with the images (N, C, H, W) among them laid out with their channels last."""

    def lay_out(held: Any) -> Any:
        is_image = isinstance(held, Tensor) and held.dim() == 4
        return held.contiguous(memory_format=torch.channels_last) if is_image else held

    return mapped(inputs, lay_out)


def runs_channels_last(net: nn.Module, arguments: tuple[Any, ...]) -> bool:
    """Whether a network takes images with their channels last; what it does not take otherwise either, it does.

    A network that views the result of a convolution as a vector does not. It is tried on a copy, in training mode.
    """
    try:
        tried = copy.deepcopy(net).train()
    except Exception:  # Networks that cannot be copied are trained as asked for.
        return True
    for laid_out in (True, False):
        with suppress(Exception), torch.no_grad(), channels_last_weights(tried, laid_out):
            tried(*(channels_last(arguments) if laid_out else cloned(arguments)))
            return laid_out
    return True


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
    before = {weight: weight.is_contiguous() for weight in net.parameters() if weight.dim() == 4}
    for weight in before:
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for weight in net.parameters():
            if weight.dim() == 4 and before.get(weight, True):
                weight.data = weight.data.contiguous()
