"""Which layers of a network get a threshold together."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from sparsebench.errors import ConfigError
from sparsebench.pruning.by_group import ALTERNATIVE
from sparsebench.registry import nearest

GRAPH = "graph"
"""Stands for groups that are made from the network."""


def groups_of_layers(patterns: Sequence[str], layers: Sequence[str], most: int) -> dict[str, tuple[str, ...]]:
    """Return the layers of each group, by the pattern that ``by_group`` knows it by.

    Args:
        patterns: as the config has them. The first that matches a layer holds; what none matches is one more group.
        layers: names of the prunable layers, in their order.
        most: groups that are made from the network at most.

    Raises:
        ConfigError: with every pattern that names no layer.
    """
    if list(patterns) == [GRAPH]:
        return {_pattern(own, layers): own for own in _from_graph(layers, most)}
    lost = [p for p in patterns if not any(_matches(p, layer) for layer in layers)]
    if lost:
        problems = []
        for pattern in lost:
            guess = nearest(pattern, layers)
            hint = f" Did you mean {guess!r}?" if guess else ""
            problems.append(
                f"search.groups: {pattern!r} names no prunable layer of the network.{hint} Its prunable layers: "
                f"{', '.join(layers)}."
            )
        raise ConfigError("The search was not started:", problems)
    first = {layer: next((p for p in patterns if _matches(p, layer)), None) for layer in layers}
    members = [tuple(layer for layer in layers if first[layer] == pattern) for pattern in (*patterns, None)]
    return {_pattern(own, layers): own for own in members if own}


def _matches(pattern: str, layer: str) -> bool:
    return any(fnmatchcase(layer, part) for part in pattern.split(ALTERNATIVE))


def _from_graph(layers: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Return layers that begin alike, to the depth at which there are as many groups as there may be.

    Where blocks of the network are more than that, neighbours join.
    """
    deepest = max((layer.count(".") for layer in layers), default=0) + 1
    for depth in range(deepest, 0, -1):
        found: dict[str, list[str]] = {}
        for layer in layers:
            found.setdefault(".".join(layer.split(".")[:depth]), []).append(layer)
        if len(found) <= most or depth == 1:
            break
    groups = [tuple(own) for own in found.values()]
    size, larger = divmod(len(groups), most) if len(groups) > most else (1, 0)
    joined: list[tuple[str, ...]] = []
    at = 0
    while at < len(groups):
        step = size + (len(joined) < larger)
        joined.append(tuple(layer for own in groups[at : at + step] for layer in own))
        at += step
    return joined


def _pattern(own: Collection[str], layers: Sequence[str]) -> str:
    """Return the shortest pattern that names these layers and no others: what they begin with, or all their names."""
    names = list(own)
    if len(names) > 1:
        parts = [name.split(".") for name in names]
        depth = 0
        while all(len(part) > depth + 1 and part[depth] == parts[0][depth] for part in parts):
            depth += 1
        if depth:
            pattern = f"{'.'.join(parts[0][:depth])}.*"
            if [layer for layer in layers if fnmatchcase(layer, pattern)] == names:
                return pattern
    return ALTERNATIVE.join(names)
