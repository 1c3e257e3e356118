"""Thresholds of their own for layers that are named, beside the threshold of the sweep for all others."""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from sparsebench.errors import PruningError
from sparsebench.pruning.base import Pruner, build_pruner, check_threshold, is_structural
from sparsebench.pruning.magnitude import zero_smallest_of
from sparsebench.pruning.weights import PrunableWeight, elements, prunable_weights
from sparsebench.registry import nearest


class PerLayer:
    """Prunes named layers to thresholds of their own, by magnitude within each, and all others by another pruner.

    While sparsity grows, a named layer has the same share of its threshold as the others have of theirs.

    Args:
        pruner: prunes the layers that are not named; it must have been built with ``keep`` set to the patterns.
        per_layer: threshold in [0, 1) by layer name or pattern (``features.*``); the first that matches holds.
        target: the threshold of the sweep, above 0, at which the named layers reach theirs.
        include_classifier: whether the last prunable layer may be pruned as well.
    """

    def __init__(
        self, pruner: Pruner, per_layer: Mapping[str, float], target: float, include_classifier: bool = False
    ) -> None:
        for threshold in per_layer.values():
            check_threshold(threshold)
        self.pruner = pruner
        self.per_layer = dict(per_layer)
        self.target = target
        self.include_classifier = include_classifier

    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Prune the layers that are not named to ``threshold``, and the named ones to the same share of theirs."""
        check_threshold(threshold)
        for weights, own in named_layers(net, self.per_layer, self.include_classifier):
            zero_smallest_of(weights, round(own * min(1.0, threshold / self.target) * elements(weights)))
        if prunable_weights(net, self.include_classifier, self.per_layer):
            self.pruner.prune(net, threshold)
        return net


def pruner_of_training(
    name: str, options: Mapping[str, Any], per_layer: Mapping[str, float], include_classifier: bool, threshold: float
) -> Pruner:
    """Return the pruner that a training to a threshold follows; see ``build_pruner`` and ``PerLayer``.

    Raises:
        UnknownNameError: where no such pruner is known.
        PruningError: where it does not take these options, or thresholds of single layers.
    """
    pruner = build_pruner(name, options, include_classifier, tuple(per_layer))
    own = [pattern for pattern, value in per_layer.items() if value]
    if is_structural(pruner):
        if own:
            raise PruningError(
                f"Pruner {name!r} cannot bring {', '.join(own)} to thresholds of their own, because layers lose "
                "channels together; set 0 in per_layer to keep a layer as it is, or use another pruner."
            )
        return pruner
    if not per_layer or threshold == 0:
        return pruner
    return PerLayer(pruner, per_layer, threshold, include_classifier)


def named_layers(
    net: nn.Module, per_layer: Mapping[str, float], include_classifier: bool = False
) -> list[tuple[list[PrunableWeight], float]]:
    """Return the weights of each named layer with its own threshold.

    Raises:
        PruningError: where a pattern names no prunable layer; the text suggests the nearest layer.
    """
    layers: dict[str, list[PrunableWeight]] = {}
    for weight in prunable_weights(net, include_classifier):
        layers.setdefault(weight.layer, []).append(weight)
    check_patterns(per_layer, layers)
    first = {layer: next((p for p in per_layer if fnmatchcase(layer, p)), None) for layer in layers}
    return [(layers[layer], per_layer[pattern]) for layer, pattern in first.items() if pattern is not None]


def check_patterns(patterns: Collection[str], layers: Collection[str]) -> None:
    """Raise a ``PruningError`` with every pattern that names no prunable layer."""
    lost = [pattern for pattern in patterns if not any(fnmatchcase(layer, pattern) for layer in layers)]
    if lost:
        guess = nearest(lost[0], layers)
        hint = f" Did you mean {guess!r}?" if guess else ""
        raise PruningError(
            f"per_layer names {', '.join(map(repr, lost))}, which is no prunable layer of this network.{hint} "
            f"Its prunable layers: {', '.join(layers) or 'none'}. The classifier counts with include_classifier only."
        )


def asked_zeros(
    net: nn.Module, threshold: float, per_layer: Mapping[str, float], include_classifier: bool = False
) -> tuple[int, int]:
    """Return how many zeros a threshold asks for, and the number of prunable weights they are counted among.

    Layers that ``per_layer`` keeps dense (threshold 0) are not counted among the prunable ones.
    """
    named = named_layers(net, per_layer, include_classifier) if per_layer else []
    own = {weight.name for weights, _ in named for weight in weights}
    rest = [weight for weight in prunable_weights(net, include_classifier) if weight.name not in own]
    groups = [(elements(weights), share) for weights, share in [*named, (rest, threshold)]]
    zeros = sum(round(share * count) for count, share in groups)
    return zeros, elements(rest) + sum(count for count, share in groups[:-1] if share)
