"""How important each channel is, by name. A new importance is one entry in ``IMPORTANCES``."""

import zlib
from collections.abc import Callable
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparsebench.errors import PruningError
from sparsebench.pruning.structured.channels import ChannelGroup

IMPORTANCES: dict[str, Callable[[], Any]] = {
    "l1": lambda: tp.importance.GroupMagnitudeImportance(p=1),
    "l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "taylor": tp.importance.GroupTaylorImportance,
    "bn_scale": tp.importance.BNScaleImportance,
    "lamp": tp.importance.LAMPImportance,
    "random": lambda: None,
}
"""Those of torch-pruning, each over a whole group of layers that lose their channels together."""


def check_network(name: str, net: nn.Module) -> None:
    """Raise a ``PruningError`` where ``bn_scale`` finds no batch normalisation."""
    if name == "bn_scale" and not any(isinstance(m, _BatchNorm) and m.affine for m in net.modules()):
        raise PruningError(
            f"importance 'bn_scale' reads the scales of batch normalisation, and {type(net).__name__} has none; "
            "choose 'l2', 'l1', 'lamp' or 'taylor'."
        )


def copy_gradients(net: nn.Module, copied: nn.Module) -> None:
    """Give a copy the gradients of a network, which ``taylor`` reads; a ``PruningError`` where there are none."""
    mine = dict(net.named_parameters())
    for name, parameter in copied.named_parameters():
        gradient = mine[name].grad
        # A layer that took no part in the loss, or that is frozen, would not be missed: its channels count nothing.
        parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient.to(parameter.device).clone()
    if all(parameter.grad is None for parameter in mine.values()):
        raise PruningError(
            "importance 'taylor' needs the gradients of the last backward pass and there are none; prune after "
            "loss.backward() and before zero_grad(), or choose 'l2'."
        )


def group_scores(group: ChannelGroup, importance: str, seed: int) -> Tensor | None:
    """Return the importance of each unit of a group, see ``counts.Layer``: float32 (units,), or None without meaning.

    Raises:
        PruningError: where a weight is NaN or infinite.
    """
    if importance == "random":
        # Of its own for every group, so that the choice in one does not depend on which others there are. Both go into
        # 32 bits: the generator does not look at more.
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {group.root}".encode()))
        scores = torch.rand(group.channels, generator=generator)
    else:
        found = IMPORTANCES[importance]()(group.full)
        if found is None:
            return None
        # Weights that are all zero are divided by their mean.
        scores = torch.where(found.isnan(), 0.0, found) if _all_finite(group) else found
    if not bool(torch.isfinite(scores).all()):
        raise PruningError(
            f"The weights around {group.root} hold NaN or infinity, so the least important channels cannot be told. "
            "Training has diverged; lower the learning rate, or start from a sound checkpoint."
        )
    return scores.float().view(group.blocks, -1).mean(0)


def _all_finite(group: ChannelGroup) -> bool:
    modules = {dep.target.module for dep, _ in group.full if isinstance(dep.target.module, nn.Module)}
    tensors: list[Tensor] = [p for module in modules for p in module.parameters(recurse=False)]
    tensors += [p.grad for p in tensors if p.grad is not None]
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
