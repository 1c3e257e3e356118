"""Which channels go: how important each one is, and how many each layer keeps to reach a fraction of the parameters.

Whatever the ranking, it is a list of small cuts in the order in which they are made; the cuts up to the point that lies
nearest the wanted number of parameters are taken, and single cuts are then exchanged where that comes nearer still. A
new importance is one entry in ``IMPORTANCES``.
"""

import itertools
import math
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparsebench.errors import PruningError
from sparsebench.pruning.structure import dense_shapes
from sparsebench.pruning.structured.channels import ChannelGroup
from sparsebench.pruning.weights import prunable_weights

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
    """Return the importance of each unit of a group, see ``Layer``: float32 (units,), or None without meaning.

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


REACHED_WITHIN = 0.01
"""What is off by more, as a fraction of the parameters, counts as not reached."""

# Coming nearer than a tenth of a point is not worth a less even structure.
_NEAR_ENOUGH = 0.001
# Only small networks miss by so much, and there the possible counts are few.
_SEVERAL_ABOVE = 0.005
_MANY = 5000
# Ranked over all layers, a layer that is small beside the others would else be left with a single channel.
_LEAST_SHARE_BY_GLOBAL_RANKING = 0.1


@dataclass(frozen=True)
class Layer:
    """The channels of one group of layers that lose their channels together, in units.

    A unit is one channel, or one channel of every block of a grouped convolution.

    Attributes:
        now: units that are left.
        dense: units before any were removed.
        step: units go in multiples of this; ``now`` itself is always allowed.
        least: fewer are never left, at least 1.
        scores: importance of each unit that is left, ascending; ``now`` of them.
    """

    now: int
    dense: int
    step: int
    least: int
    scores: tuple[float, ...]

    @property
    def levels(self) -> tuple[int, ...]:
        """The numbers of units that may be left, from ``now`` downwards."""
        lowest = -(-max(self.least, 1) // self.step) * self.step
        highest = (self.now - 1) // self.step * self.step
        return (self.now, *range(highest, lowest - 1, -self.step))


def rounding_step(round_to: int, blocks: int) -> int:
    """Return how many units make the channels of a layer with ``blocks`` blocks a multiple of ``round_to``."""
    return round_to // math.gcd(round_to, blocks)


def choose_counts(
    layers: Sequence[Layer], removed: Callable[[Sequence[int]], float], target: float, global_ranking: bool
) -> list[int]:
    """Return how many units each layer keeps so that the fraction removed is as near ``target`` as steps allow.

    The same state and target give the same counts, and asking again once they are reached changes nothing.

    Args:
        layers: the layers.
        removed: from units kept to the fraction of parameters removed; grows as units fall.
        target: the fraction of parameters to remove.
        global_ranking: whether the least important units of all layers go first; otherwise every layer keeps the same
            share of its dense units, as far as steps allow.
    """
    kept = [layer.now for layer in layers]
    if not layers or removed(kept) >= target - _NEAR_ENOUGH:
        return kept
    cuts = _cuts(layers, global_ranking)

    def after(count: int) -> list[int]:
        left = [layer.now for layer in layers]
        for index, level in cuts[:count]:
            left[index] = level
        return left

    low, high = 0, len(cuts)
    while low < high:  # the first number of cuts that removes enough
        middle = (low + high) // 2
        if removed(after(middle)) >= target:
            high = middle
        else:
            low = middle + 1
    near = min((max(low - 1, 0), low), key=lambda count: abs(removed(after(count)) - target))
    return _exchange(layers, after(near), removed, target)


def _cuts(layers: Sequence[Layer], global_ranking: bool) -> list[tuple[int, int]]:
    # (layer, units left after it), in the order in which they are made.
    ranked = []
    for index, layer in enumerate(layers):
        worst = 0.0
        for before, level in zip(layer.levels, layer.levels[1:], strict=False):
            lost = layer.scores[layer.now - before : layer.now - level]
            # A later cut of a layer never comes before an earlier one, whatever rounding does to the means.
            worst = max(worst, sum(lost) / len(lost))
            share = 1 - (before + level) / 2 / layer.dense
            ranked.append((worst if global_ranking else share, worst, index, level))
    # Of cuts of equal rank the one that loses the least important units comes first.
    return [(index, level) for _, _, index, level in sorted(ranked, key=lambda cut: (*cut[:3], -cut[3]))]


def _exchange(
    layers: Sequence[Layer], kept: list[int], removed: Callable[[Sequence[int]], float], target: float
) -> list[int]:
    """Move single layers by one step for as long as that comes nearer to the target; else several at once."""

    def off(counts: list[int]) -> float:
        return abs(removed(counts) - target)

    while off(kept) > _NEAR_ENOUGH:
        moved = min(_single_moves(layers, kept), key=off, default=kept)
        if off(moved) >= off(kept) > _SEVERAL_ABOVE:
            moved = min(_several_moves(layers, kept), key=off, default=kept)
        if off(moved) >= off(kept):
            break
        kept = moved
    if off(kept) > REACHED_WITHIN and math.prod(len(layer.levels) for layer in layers) <= _MANY:
        # However uneven, if it keeps what was promised; otherwise the even structure is the better one.
        moved = min(map(list, itertools.product(*(layer.levels for layer in layers))), key=off)
        kept = moved if off(moved) <= REACHED_WITHIN else kept
    return kept


def _single_moves(layers: Sequence[Layer], kept: list[int]) -> Iterator[list[int]]:
    for index, layer in enumerate(layers):
        for level in _near(layer, kept[index], 1):
            yield [*kept[:index], level, *kept[index + 1 :]]


def _several_moves(layers: Sequence[Layer], kept: list[int]) -> Iterator[list[int]]:
    """Yield the counts in which every layer has moved by up to two steps, or two layers by one where these are many."""
    choices = [_near(layer, units, 2) for layer, units in zip(layers, kept, strict=True)]
    if math.prod(map(len, choices)) <= _MANY:
        yield from map(list, itertools.product(*choices))
    else:
        for moved in _single_moves(layers, kept):
            yield from _single_moves(layers, moved)


def _near(layer: Layer, units: int, steps: int) -> tuple[int, ...]:
    levels = layer.levels
    here = levels.index(units)
    return levels[max(0, here - steps) : here + steps + 1]


class Choice:
    """A group of channels, how many of them may be left, and in which order its units go."""

    def __init__(
        self, net: nn.Module, group: ChannelGroup, scores: Tensor, round_to: int, global_ranking: bool
    ) -> None:
        root = net.get_submodule(group.root)
        dense = dense_shapes(net)[f"{group.root}.weight" if group.root else "weight"]
        units = dense[1 if getattr(root, "transposed", False) else 0] // group.blocks
        least = math.ceil(_LEAST_SHARE_BY_GLOBAL_RANKING * units) if global_ranking else 1
        # With one channel to a block, a grouped convolution would pass for a depthwise one the next time.
        least = max(least, 2 if group.in_blocks else 1)
        self.group = group
        self.order = scores.argsort(stable=True).tolist()
        self.layer = Layer(
            now=group.channels // group.blocks,
            dense=units,
            step=rounding_step(round_to, group.blocks),
            least=least,
            scores=tuple(scores[self.order].tolist()),
        )


class WeightCounter:
    """Counts, without touching the network, the prunable weights that would be gone."""

    def __init__(
        self, net: nn.Module, groups: Sequence[ChannelGroup], include_classifier: bool, keep: Collection[str]
    ) -> None:
        self.groups = groups
        self.fixed = 0
        self.layers: list[tuple[int, int, int, dict[int, float], dict[int, float]]] = []
        shapes = dense_shapes(net)
        self.dense = 0
        for weight in prunable_weights(net, include_classifier, keep):
            self.dense += math.prod(shapes[weight.name])
            outputs = {i: g.outputs[weight.layer] for i, g in enumerate(groups) if weight.layer in g.outputs}
            inputs = {i: g.inputs[weight.layer] for i, g in enumerate(groups) if weight.layer in g.inputs}
            if not outputs and not inputs:
                self.fixed += weight.parameter.numel()
                continue
            # The inputs of a grouped convolution shrink block by block, those of a depthwise one not at all.
            size, blocks = weight.parameter.shape, getattr(net.get_submodule(weight.layer), "groups", 1)
            inputs = {i: share / blocks for i, share in inputs.items()}
            self.layers.append((size[0], size[1], size[2:].numel(), outputs, inputs))

    def removed(self, kept: Sequence[int]) -> float:
        """Return the fraction of the dense network's prunable weights that is gone, from the units each group keeps."""
        gone = [group.channels - units * group.blocks for group, units in zip(self.groups, kept, strict=True)]
        left = float(self.fixed)
        for out_channels, in_channels, kernel, outputs, inputs in self.layers:
            out_left = out_channels - sum(gone[i] * share for i, share in outputs.items())
            in_left = in_channels - sum(gone[i] * share for i, share in inputs.items())
            left += out_left * in_left * kernel
        return 1 - left / self.dense
