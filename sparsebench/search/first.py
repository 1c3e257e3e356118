"""First proposals: magnitude over all layers at several thresholds, and what a profile of the layers suggests.

The profile is that of ``sparsebench sensitivity``: each layer is pruned alone, without training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sparsebench.search.allocation import divided, monotone
from sparsebench.search.space import Space
from sparsebench.store.results import SensitivityResult

PROFILED = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Thresholds at which layers are pruned alone."""

_LEVELS = 4
"""Thresholds of first proposals, evenly apart in the logarithm of the weights that are kept."""

_TIE = 1e-3
"""Weight of what decides among divisions that lose equally: few samples tell small losses from none."""


def first_proposals(
    space: Space, profile: SensitivityResult | None, groups: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Return what to propose first.

    Args:
        space: what may be proposed.
        profile: how much each layer minds being pruned alone; None to do without.
        groups: the layers of each group.
    """
    low, high = space.kept
    levels = [1 - high * (low / high) ** ((place + 0.5) / _LEVELS) for place in range(_LEVELS)]
    found = []
    for place, threshold in enumerate(levels):
        pruners = list(space.pruners.values())
        # The first pruner has all levels, each other one two of them.
        found += [space.proposal(p, threshold, {}) for n, p in enumerate(pruners) if not n or (place + n) % 2]
        if profile is not None and space.grouped:
            pruner = space.pruners[space.grouped[0]]
            suggested = suggestion(losses_of(profile, groups), space.weights, threshold)
            found.append(space.proposal(pruner, threshold, suggested))
    return found


def losses_of(profile: SensitivityResult, groups: Mapping[str, Sequence[str]]) -> dict[str, dict[float, float]]:
    """Return what is lost where all layers of a group are pruned alone, by group and threshold, never falling."""
    factor = profile.scale.merit(1.0) if profile.scale else 1.0
    by_layer: dict[str, list[tuple[float, float]]] = {}
    for point in profile.points:
        lost = factor * (profile.dense_value - point.value)
        by_layer.setdefault(point.layer, []).append((point.threshold, lost))
    smooth = {layer: monotone(lost) for layer, lost in by_layer.items()}
    return {
        group: {0.0: 0.0}
        | {
            threshold: sum(smooth[layer].get(threshold, 0.0) for layer in layers if layer in smooth)
            for threshold in sorted({at for layer in layers for at in smooth.get(layer, {})})
        }
        for group, layers in groups.items()
    }


def suggestion(
    losses: Mapping[str, Mapping[float, float]], weights: Mapping[str, int], threshold: float
) -> dict[str, float]:
    """Return a threshold for each group such that what they lose alone adds up to least.

    Of equal sums the one with the most even thresholds is taken: what few samples do not show is lost all the same.
    """
    worst = max((loss for own in losses.values() for loss in own.values()), default=0.0) or 1.0
    total = sum(weights.values())
    uneven = {
        group: {at: loss + _TIE * worst * (weights[group] / total) * at**2 / (1 - at) for at, loss in own.items()}
        for group, own in losses.items()
    }
    return divided(uneven, weights, threshold)
