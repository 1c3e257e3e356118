"""Carrying weights from one network to another of similar shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.errors import ModelError

_NAMES_SHOWN = 8


@torch.no_grad()
def copy_weights(old_net: nn.Module | Mapping[str, Any], net: nn.Module) -> nn.Module:
    """Copy what fits from an old network into a new one, in place.

    Of every parameter and buffer that both have by the same name, the block that overlaps is copied: a weight of shape
    (64, 16, 3, 3) fills the first 16 inputs of one of shape (32, 32, 3, 3) with those of its first 32 outputs. What
    lies outside the block keeps its own values. Entries that only one of the two has, or that differ in their number of
    dimensions, are left alone. Values are converted to the precision and the device of ``net``.

    Args:
        old_net: the old network or its state dict.
        net: the network that receives the weights.

    Returns:
        ``net`` itself.

    Raises:
        ModelError: where ``old_net`` is neither, or not one entry overlaps.
    """
    old = _state(old_net)
    new = {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    copied = sum(_copy_overlap(old[name], new[name]) for name in new if isinstance(old.get(name), Tensor))
    if new and not copied:
        raise ModelError(_nothing_fits(old, new))
    return net


def _state(old_net: object) -> Mapping[str, Any]:
    if isinstance(old_net, nn.Module):
        return old_net.state_dict()
    if isinstance(old_net, Mapping):
        return old_net
    raise ModelError(
        f"Cannot copy weights from {type(old_net).__name__}; give the old network or its state dict as old_net."
    )


def _copy_overlap(old: Tensor, new: Tensor) -> bool:
    if old.ndim != new.ndim:
        return False
    block = tuple(slice(min(sizes)) for sizes in zip(old.shape, new.shape, strict=True))
    if not new[block].numel():
        return False
    new[block].copy_(old[block])
    return True


def _nothing_fits(old: Mapping[str, Any], new: Mapping[str, Tensor]) -> str:
    differing = [
        f"{name} ({old[name].ndim} dimensions in the old network, {value.ndim} in the new)"
        for name, value in new.items()
        if isinstance(old.get(name), Tensor)
    ]
    if differing:
        return f"No weights could be copied: {', '.join(differing)}. Give an old network with the same kinds of layers."
    return (
        "No weights could be copied: the two networks share no parameter name. "
        f"The old one has {shown(list(old), 'none')}; the new one has {shown(list(new), 'none')}. "
        "Give the state dict itself, with the names of the network that receives it."
    )


def shown(names: Sequence[Any], nothing: str = "nothing") -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return (", ".join(str(name) for name in names[:_NAMES_SHOWN]) or nothing) + more
