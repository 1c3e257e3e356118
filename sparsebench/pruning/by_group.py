"""Thresholds for groups of layers: within each, another pruner chooses the weights."""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from sparsebench.errors import PruningError
from sparsebench.pruning.base import WeightPruner, build_pruner, check_threshold, is_structural
from sparsebench.pruning.weights import elements
from sparsebench.registry import ONLY_THRESHOLDS, nearest

ALTERNATIVE = "|"
"""Stands between the patterns of one group."""


class ByGroup(WeightPruner):
    """The pruner ``by_group``: layers of one group lose weights together, each group up to a threshold of its own.

    The threshold of a training says how many of all prunable weights are zero; the thresholds of the groups say how
    these are shared out. Where both ask for as many, each group reaches its own exactly. While sparsity grows, each
    group has the same share of its zeros; a higher threshold takes the same share of what each group has left.

    Args:
        include_classifier, keep: as of every ``WeightPruner``.
        thresholds: fraction in [0, 1) of each group, by a pattern of layer names, or several with ``|`` between them
            (``conv1|layer1.*``). Each prunable layer belongs to exactly one group, so that their order means nothing.
        pruner: the pruner of single weights that chooses within a group.
        options: its options.

    Raises:
        PruningError: where the thresholds are none, or that pruner prunes no single weights to any threshold.
    """

    def __init__(
        self,
        include_classifier: bool = False,
        keep: Collection[str] = (),
        thresholds: Mapping[str, float] | None = None,
        pruner: str = "magnitude",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(include_classifier, keep)
        if not isinstance(thresholds, Mapping) or not thresholds:
            raise PruningError("by_group needs thresholds, a table of one for each group: { 'features.*' = 0.8 }.")
        for threshold in thresholds.values():
            check_threshold(threshold)
        self.thresholds, self._pruner, self._options = dict(thresholds), pruner, dict(options or {})
        if pruner == "by_group" or pruner in ONLY_THRESHOLDS or is_structural(self._built(())):
            raise PruningError(
                f"by_group cannot choose by {pruner!r}, which prunes no single weights to any threshold; use "
                "'magnitude', 'layer_magnitude' or 'random'."
            )
        # Made once for a network: they may remember what makes the next call faster.
        self._known: tuple[tuple[str, ...], dict[str, Any]] | None = None

    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Set ``round(threshold × prunable)`` weights to zero, in place, shared out among the groups.

        Raises:
            PruningError: where a layer belongs to no group or to several, or a pattern names no layer.
        """
        weights = self.weights_of(net, threshold)
        if not weights:
            return net
        sizes: dict[str, int] = {}
        for weight in weights:
            sizes[weight.layer] = sizes.get(weight.layer, 0) + weight.parameter.numel()
        members = groups_of(tuple(self.thresholds), tuple(sizes))
        counts = {group: sum(sizes[layer] for layer in layers) for group, layers in members.items()}
        zeros = shared_out(round(threshold * elements(weights)), counts, self.thresholds)
        pruners = self._pruners(tuple(sizes), members)
        for group, count in zeros.items():
            if count:
                pruners[group].prune(net, count / counts[group])
        return net

    def _pruners(self, layers: tuple[str, ...], members: Mapping[str, Collection[str]]) -> dict[str, Any]:
        if self._known is None or self._known[0] != layers:
            others = {group: [name for name in layers if name not in own] for group, own in members.items()}
            self._known = layers, {group: self._built(kept) for group, kept in others.items()}
        return self._known[1]

    def _built(self, others: Collection[str]) -> Any:
        return build_pruner(self._pruner, self._options, self.include_classifier, (*self.keep, *others))


def groups_of(patterns: Collection[str], layers: Collection[str]) -> dict[str, list[str]]:
    """Return the layers of each group, by its patterns.

    Raises:
        PruningError: with every layer that belongs to no group or to several, and every pattern without a layer.
    """
    members = {
        group: [name for name in layers if any(fnmatchcase(name, part) for part in group.split(ALTERNATIVE))]
        for group in patterns
    }
    problems = []
    for group, own in members.items():
        if not own:
            guess = nearest(group, layers)
            hint = f" Did you mean {guess!r}?" if guess else ""
            problems.append(f"group {group!r} names no prunable layer.{hint}")
    for name in layers:
        found = [group for group, own in members.items() if name in own]
        if len(found) > 1:
            problems.append(f"layer {name!r} belongs to {' and to '.join(map(repr, found))}; name it once.")
        elif not found:
            problems.append(f"layer {name!r} belongs to no group; add it to one.")
    if problems:
        raise PruningError(f"by_group: {' '.join(problems)} Prunable layers: {', '.join(layers) or 'none'}.")
    return members


def shared_out(zeros: int, counts: Mapping[str, int], thresholds: Mapping[str, float]) -> dict[str, int]:
    """Return how many zeros each group gets of ``zeros``, which they have together.

    Args:
        zeros: how many there are to be, from 0 to the number of all weights.
        counts: weights of each group.
        thresholds: what each group would have by itself, in [0, 1).

    Returns:
        Whole numbers that add up to ``zeros``, rounded by the largest remainder. Each group keeps a weight, so that
        they add up to less where nearly all are asked for.
    """
    most = {group: count - 1 for group, count in counts.items()}
    zeros = min(zeros, sum(most.values()))
    asked = {group: thresholds[group] * count for group, count in counts.items()}
    together, total = sum(asked.values()), sum(counts.values())
    if zeros <= together:
        share = zeros / together if together else 0.0
        exact = {group: share * own for group, own in asked.items()}
    else:
        left = (total - zeros) / (total - together)
        exact = {group: counts[group] - left * (counts[group] - own) for group, own in asked.items()}
    found = {group: min(most[group], int(value + 1e-9)) for group, value in exact.items()}
    by_remainder = sorted(exact, key=lambda group: found[group] - exact[group])
    missing = zeros - sum(found.values())
    while missing > 0:
        for group in by_remainder:
            if missing and found[group] < most[group]:
                found[group] += 1
                missing -= 1
    return found
