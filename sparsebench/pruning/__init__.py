"""Which weights are pruned, how they are chosen and how sparsity grows during training.

A new pruner is one file with a class that keeps the ``Pruner`` protocol, and one line in ``PRUNERS``.
"""

from sparsebench.pruning.base import (
    PrunableWeight,
    Pruner,
    all_weights,
    build_pruner,
    check_threshold,
    nothing_prunable,
    prunable_weights,
    sparsity,
)
from sparsebench.pruning.magnitude import Magnitude, prune_net, zero_smallest_of
from sparsebench.pruning.per_layer import PerLayer, asked_zeros
from sparsebench.pruning.schedules import GradualPruning, Masks, Schedule, capture_zeros
from sparsebench.pruning.structure import Structure, apply_structure

__all__ = [
    "GradualPruning",
    "Magnitude",
    "Masks",
    "PerLayer",
    "PrunableWeight",
    "Pruner",
    "Schedule",
    "Structure",
    "all_weights",
    "apply_structure",
    "asked_zeros",
    "build_pruner",
    "capture_zeros",
    "check_threshold",
    "nothing_prunable",
    "prunable_weights",
    "prune_net",
    "sparsity",
    "zero_smallest_of",
]
