"""Which weights are pruned, how they are chosen and how sparsity grows during training.

A new pruner is one file with a class that keeps the ``Pruner`` protocol, and one line in ``PRUNERS``. The public names
are loaded on first use: a plan asks pruners which thresholds they can reach, and shall not wait for torch.
"""

from typing import TYPE_CHECKING

from sparsebench.lazy import lazy_attributes

if TYPE_CHECKING:
    from sparsebench.pruning.base import Pruner, build_pruner, check_threshold
    from sparsebench.pruning.layers import PrunableWeight, all_weights, prunable_weights, sparsity
    from sparsebench.pruning.magnitude import Magnitude, nothing_prunable, prune_net, zero_smallest_of
    from sparsebench.pruning.masks import Masks, capture_zeros
    from sparsebench.pruning.per_layer import PerLayer, asked_zeros
    from sparsebench.pruning.schedules import GradualPruning, Schedule
    from sparsebench.pruning.structure import Structure, apply_structure

_HOMES = {
    "Pruner": "sparsebench.pruning.base",
    "build_pruner": "sparsebench.pruning.base",
    "check_threshold": "sparsebench.pruning.base",
    "PrunableWeight": "sparsebench.pruning.layers",
    "all_weights": "sparsebench.pruning.layers",
    "prunable_weights": "sparsebench.pruning.layers",
    "sparsity": "sparsebench.pruning.layers",
    "Magnitude": "sparsebench.pruning.magnitude",
    "nothing_prunable": "sparsebench.pruning.magnitude",
    "prune_net": "sparsebench.pruning.magnitude",
    "zero_smallest_of": "sparsebench.pruning.magnitude",
    "Masks": "sparsebench.pruning.masks",
    "capture_zeros": "sparsebench.pruning.masks",
    "PerLayer": "sparsebench.pruning.per_layer",
    "asked_zeros": "sparsebench.pruning.per_layer",
    "GradualPruning": "sparsebench.pruning.schedules",
    "Schedule": "sparsebench.pruning.schedules",
    "Structure": "sparsebench.pruning.structure",
    "apply_structure": "sparsebench.pruning.structure",
}

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

__getattr__ = lazy_attributes(__name__, _HOMES)
