"""Which weights are pruned, how they are chosen and how sparsity grows during training.

A new pruner is one file with a class that keeps the ``Pruner`` protocol, and one line in ``PRUNERS``.
"""

from sparsebench.pruning.base import Pruner, check_threshold
from sparsebench.pruning.layers import PrunableWeight, all_weights, prunable_weights, sparsity
from sparsebench.pruning.magnitude import Magnitude, nothing_prunable, prune_net
from sparsebench.pruning.schedules import GradualPruning, Schedule

__all__ = [
    "GradualPruning",
    "Magnitude",
    "PrunableWeight",
    "Pruner",
    "Schedule",
    "all_weights",
    "check_threshold",
    "nothing_prunable",
    "prunable_weights",
    "prune_net",
    "sparsity",
]
