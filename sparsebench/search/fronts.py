"""Fronts of points with several objectives, all to be minimized: who is on them, and how much they dominate."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Values = tuple[float, ...]
"""One value for each objective; less is better."""

Key = TypeVar("Key", bound=Hashable)


def dominates(a: Values, b: Values) -> bool:
    """Whether ``a`` is at least as good as ``b`` in everything, and better in something."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def front(points: Sequence[Values]) -> list[int]:
    """Return the places of the points that no other dominates, ascending; of equal points the first."""
    found: list[int] = []
    # Whoever dominates a point comes before it in this order.
    for place in sorted(range(len(points)), key=lambda place: (points[place], place)):
        if not any(points[other] == points[place] or dominates(points[other], points[place]) for other in found):
            found.append(place)
    return sorted(found)


def hypervolume(points: Sequence[Values], reference: Values) -> float:
    """Return the volume that is dominated by at least one of the points, up to a reference that they all should beat.

    Exact, by slicing (Knowles 2002, "Local-search and hybrid evolutionary algorithms for Pareto optimization", ch. 4):
    along the last objective the volume is a sum of slabs, in each of which one objective fewer counts.

    Args:
        points: any; those beyond the reference in some objective add nothing.
        reference: the corner of the box.
    """
    inside = [point for point in points if all(x < limit for x, limit in zip(point, reference, strict=True))]
    if not inside:
        return 0.0
    inside = [inside[place] for place in front(inside)]
    if len(reference) == 1:
        return reference[0] - inside[0][0]
    if len(reference) == 2:
        volume, height = 0.0, reference[1]
        for x, y in sorted(inside):
            volume += (reference[0] - x) * (height - y)
            height = y
        return volume
    inside.sort(key=lambda point: point[-1])
    volume = 0.0
    for place, point in enumerate(inside):
        end = inside[place + 1][-1] if place + 1 < len(inside) else reference[-1]
        if end > point[-1]:
            slab = hypervolume([one[:-1] for one in inside[: place + 1]], reference[:-1])
            volume += slab * (end - point[-1])
    return volume


def best_spread(offered: Mapping[Key, Sequence[Values]], most: int, reference: Values) -> list[Key]:
    """Return those of several sets of points that together dominate most, each chosen for what it adds to the others.

    A greedy choice has at least 1 − 1/e of the hypervolume of the best one of its size (Nemhauser et al. 1978; the
    hypervolume is submodular). Sets that add nothing are left out, unless nothing adds anything: then it is the one
    with the point that is nearest to the reference from outside.

    Args:
        offered: points of each, by its name; of equals the first is taken.
        most: how many at most.
        reference: as in ``hypervolume``.
    """
    every = [(key, point) for key, points in offered.items() for point in points]
    useful = {every[place][0] for place in front([point for _, point in every])}
    left = [key for key in offered if key in useful]
    chosen: list[Key] = []
    points: list[Values] = []
    volume = 0.0
    while left and len(chosen) < most:
        gains = [hypervolume([*points, *offered[key]], reference) - volume for key in left]
        most_gained = max(gains)
        if most_gained <= 0:
            break
        key = left.pop(gains.index(most_gained))
        chosen.append(key)
        points += offered[key]
        volume += most_gained
    if not chosen and left:

        def beyond(key: Key) -> float:
            return min(sum(max(0.0, x - limit) for x, limit in zip(p, reference, strict=True)) for p in offered[key])

        chosen.append(min(left, key=beyond))
    return chosen


def best_in_turn(offered: Mapping[Key, Sequence[Values]], most: int, reference: Values) -> list[Key]:
    """Return as many sets of points as there may be: ``best_spread``, then that of the others, and so on.

    Of noisy values the second best may be the best.
    """
    left = dict(offered)
    chosen: list[Key] = []
    while left and len(chosen) < most:
        best = best_spread(left, most - len(chosen), reference)
        if not best:
            break
        chosen += best
        for key in best:
            del left[key]
    return chosen
