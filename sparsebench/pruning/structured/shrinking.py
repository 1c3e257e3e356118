"""Removing channels from a live network, so that an optimizer in the middle of training can follow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsebench.pruning.structure import Structure, resize, structure_of


@dataclass(frozen=True)
class Shrinking:
    """What becomes of a network when certain channels are removed.

    Attributes:
        structure: the sizes that differ afterwards.
        kept: for each parameter and buffer that gets smaller, by full name, the positions in the flattened tensor of
            the elements that stay, in the shape that they then have.
    """

    structure: Structure
    kept: Mapping[str, Tensor]


Replaced = Mapping[nn.Parameter, tuple[nn.Parameter, Tensor]]
"""The parameter that took another's place, and which of the other's elements it holds."""


def observe_shrinking(net: nn.Module, remove: Callable[[], None]) -> Shrinking:
    """Return what ``remove`` does to the sizes and elements of ``net``, a copy that is of no use afterwards.

    Every element is replaced by its own position: whatever is cut, and however, the positions tell what is left.
    """
    before = structure_of(net)
    net.double()  # holds every position up to 2^53 exactly
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.arange(tensor.numel(), dtype=torch.double).view(tensor.shape))
    remove()
    structure = structure_of(net).since(before)
    held = dict([*net.named_parameters(), *net.named_buffers()])
    changed = [f"{name}.{key}" if name else key for name, sizes in structure.modules.items() for key in sizes.tensors]
    return Shrinking(structure, {name: held[name].detach().long() for name in changed})


@torch.no_grad()
def shrink(net: nn.Module, shrinking: Shrinking) -> Replaced:
    """Remove the channels from a network, in place; gradients are kept with the weights that they belong to."""
    kept = {old: shrinking.kept[name] for name, old in net.named_parameters() if name in shrinking.kept}
    replaced = resize(net, shrinking.structure, lambda name, old, _: _taken(old, shrinking.kept[name]))
    for old, new in replaced.items():
        new.grad = None if old.grad is None else _taken(old.grad, kept[old])
    return {old: (new, kept[old]) for old, new in replaced.items()}


@torch.no_grad()
def follow(optimizer: Optimizer, replaced: Replaced) -> None:
    """Let an optimizer go on with the parameters that took the place of its own.

    What it holds for each element, such as the averages of Adam, is cut like the parameter; what it holds for a whole
    parameter, such as the number of steps, stays. Groups, their learning rates and a scheduler on them are not touched.
    """
    for group in optimizer.param_groups:
        group["params"] = [replaced[old][0] if old in replaced else old for old in group["params"]]
    for old, (new, kept) in replaced.items():
        if old in optimizer.state:
            state = optimizer.state.pop(old)
            optimizer.state[new] = {
                key: _taken(value, kept) if isinstance(value, Tensor) and value.shape == old.shape else value
                for key, value in state.items()
            }


def _taken(tensor: Tensor, kept: Tensor) -> Tensor:
    # In the memory layout that it has; take gives a contiguous copy.
    taken = tensor.detach().take(kept.to(tensor.device))
    channels_last = tensor.dim() == 4 and not tensor.is_contiguous()
    return taken.contiguous(memory_format=torch.channels_last) if channels_last else taken
