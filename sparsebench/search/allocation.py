"""How much each group of layers is pruned: moved from where it was, or as a dynamic programme divides a budget."""

import math
from collections.abc import Mapping, Sequence

_CLOSEST = 1e-4
"""Thresholds closer to 0 or 1 have no odds."""

_BINS = 400
"""Parts of a budget; a group counts for at least one of them."""


def odds(threshold: float) -> float:
    """Return the logarithm of the odds of being pruned."""
    inside = min(1 - _CLOSEST, max(_CLOSEST, threshold))
    return math.log(inside / (1 - inside))


def moved(
    thresholds: Mapping[str, float], offsets: Mapping[str, float], weights: Mapping[str, int], threshold: float
) -> dict[str, float]:
    """Return thresholds of groups whose odds are moved, and that together prune as much as is asked for.

    Args:
        thresholds: of each group, before.
        offsets: by how much the logarithm of each group's odds is moved.
        weights: how many each group has.
        threshold: of all weights together, in (0, 1).
    """
    total = sum(weights.values())

    def with_shift(shift: float) -> dict[str, float]:
        return {name: 1 / (1 + math.exp(-odds(own) - offsets[name] - shift)) for name, own in thresholds.items()}

    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        pruned = sum(own * weights[name] for name, own in with_shift(middle).items())
        low, high = (middle, high) if pruned < threshold * total else (low, middle)
    return with_shift((low + high) / 2)


def divided(
    losses: Mapping[str, Mapping[float, float]], weights: Mapping[str, int], threshold: float
) -> dict[str, float]:
    """Return a threshold for each group such that the sum of their losses is least, by dynamic programming.

    As in SPDY (Frantar and Alistarh 2022) and OBC (Frantar et al. 2022): losses of groups that are pruned alone are
    taken to add up, and of all choices that keep at most a budget of weights the best is found exactly, in the
    resolution of the budget.

    Args:
        losses: what is lost where a group alone is pruned to a threshold, by group and threshold; 0.0 may be among
            them. Each group has at least one threshold.
        weights: how many each group has.
        threshold: of all weights together; at least as many of them are pruned, rounding of the budget aside.

    Returns:
        One of its thresholds for each group; where the budget cannot be kept, the highest of each.
    """
    groups, total = list(losses), sum(weights.values())
    budget = int((1 - threshold) * _BINS + 1e-9)
    infinite = math.inf
    # Least loss with at most so many bins kept by the groups so far, and the choice of each that leads there.
    best: list[float] = [0.0] * (budget + 1)
    choices: list[list[float | None]] = []
    for name in groups:
        found: list[float] = [infinite] * (budget + 1)
        chosen: list[float | None] = [None] * (budget + 1)
        for own, loss in sorted(losses[name].items(), reverse=True):
            kept = math.ceil((1 - own) * weights[name] / total * _BINS - 0.5)
            for at in range(max(0, kept), budget + 1):
                if (together := best[at - kept] + loss) < found[at]:
                    found[at], chosen[at] = together, own
        best = found
        choices.append(chosen)
    if math.isinf(best[budget]):
        return {name: max(own) for name, own in losses.items()}
    at, result = budget, {}
    for name, reached in zip(reversed(groups), reversed(choices), strict=True):
        last = reached[at]
        assert last is not None  # noqa: S101 - the best of all is reached by some choice
        result[name] = last
        at -= max(0, math.ceil((1 - last) * weights[name] / total * _BINS - 0.5))
    return {name: result[name] for name in groups}


def monotone(losses: Sequence[tuple[float, float]]) -> dict[float, float]:
    """Return losses by threshold that never fall as thresholds rise: what falls is noise of few samples."""
    highest, found = 0.0, {}
    for threshold, loss in sorted(losses):
        highest = max(highest, loss)
        found[threshold] = highest
    return found
