"""Which weights are pruned, how they are chosen and how sparsity grows during training.

A new pruner is one file with a class that keeps the ``Pruner`` protocol, and one line in ``PRUNERS``.
"""

from sparsebench.pruning.base import Pruner, build_pruner, check_threshold, nothing_prunable
from sparsebench.pruning.computed import write_out
from sparsebench.pruning.magnitude import Magnitude, prune_net, zero_smallest_of
from sparsebench.pruning.per_layer import PerLayer, asked_zeros
from sparsebench.pruning.schedules import GradualPruning, Masks, Schedule, capture_zeros
from sparsebench.pruning.structure import Structure, apply_structure
from sparsebench.pruning.weights import (
    PrunableWeight,
    all_weights,
    out_of_reach,
    prunable_weights,
    rows_of_layers,
    sparsity,
)

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
    "out_of_reach",
    "prunable_weights",
    "prune_net",
    "rows_of_layers",
    "sparsity",
    "write_out",
    "zero_smallest_of",
]
