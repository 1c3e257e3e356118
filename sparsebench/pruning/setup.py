"""From the settings of a training to a pruner and the way in which it is followed."""

from collections.abc import Mapping
from typing import Any

from sparsebench.errors import PruningError, SparsebenchError
from sparsebench.pruning.base import Pruner, build_pruner
from sparsebench.pruning.per_layer import PerLayer
from sparsebench.pruning.schedules import GradualPruning
from sparsebench.pruning.structural import is_structural
from sparsebench.registry import SCHEDULES


def pruner_of_training(
    name: str, options: Mapping[str, Any], per_layer: Mapping[str, float], include_classifier: bool, threshold: float
) -> Pruner:
    """Return the pruner that a training follows, with the thresholds that single layers have of their own.

    Args:
        name: a name in ``PRUNERS``.
        options: the pruner's own keyword arguments.
        per_layer: thresholds of their own for layers, by name or pattern; 0 keeps a layer dense.
        include_classifier: whether the last prunable layer is pruned as well.
        threshold: the threshold of the sweep, at which the layers in ``per_layer`` reach theirs.

    Raises:
        UnknownNameError: where no such pruner is known.
        PruningError: where it does not take these options, or thresholds of single layers.
    """
    pruner = build_pruner(name, options, include_classifier, tuple(per_layer))
    if is_structural(pruner):
        own = [pattern for pattern, value in per_layer.items() if value]
        if own:
            raise PruningError(
                f"Pruner {name!r} cannot bring {', '.join(own)} to thresholds of their own, because layers lose "
                "channels together; set 0 in per_layer to keep a layer as it is, or use another pruner."
            )
        return pruner
    if not per_layer or threshold == 0:
        return pruner
    return PerLayer(pruner, per_layer, threshold, include_classifier)


def gradual_pruning(
    pruner: Pruner, schedule: str, threshold: float, steps: int, hold: float, every: int
) -> GradualPruning:
    """Return how a training of ``steps`` steps follows a pruner.

    Args:
        pruner: how weights are chosen.
        schedule: how sparsity grows: a name in ``SCHEDULES``.
        threshold: fraction of zeros at the end.
        steps: training steps, at least 1.
        hold: fraction of them, at the end, that is spent at full sparsity; in [0, 1).
        every: training steps between two prunings, at least 1.

    Raises:
        SparsebenchError: where a setting is out of range or not known.
    """
    if not 0 <= hold < 1:
        raise SparsebenchError(f"hold is {hold}; it is the fraction of training at full sparsity, in [0, 1).")
    if every < 1:
        raise SparsebenchError(f"prune_every is {every}; prune every 1 step or more.")
    return GradualPruning(pruner, SCHEDULES.load(schedule), threshold, max(1, round((1 - hold) * steps)), every)
