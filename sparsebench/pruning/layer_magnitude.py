"""Layer-wise magnitude pruning: in every layer the same fraction of its smallest weights becomes zero."""

import warnings
from collections.abc import Collection

from torch import nn

from sparsebench.errors import NoEffectWarning
from sparsebench.pruning.base import check_threshold
from sparsebench.pruning.layers import prunable_weights
from sparsebench.pruning.magnitude import nothing_prunable, zero_smallest_of


class LayerMagnitude:
    """The pruner ``layer_magnitude``: no layer can collapse, however small its weights are.

    Of each weight tensor ``round(threshold × its size)`` elements are zero afterwards, those that
    ``torch.nn.utils.prune.l1_unstructured`` chooses; over all layers the fraction differs from the threshold by
    rounding only.

    Args:
        include_classifier: whether the last prunable layer is pruned as well.
        keep: names of layers, or patterns such as ``features.*``, that are not pruned.
    """

    def __init__(self, include_classifier: bool = False, keep: Collection[str] = ()) -> None:
        self.include_classifier = include_classifier
        self.keep = tuple(keep)

    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Set the fraction ``threshold`` of each prunable weight to zero, in place.

        Raises:
            PruningError: where the threshold is out of range, or a weight is NaN or infinite.
        """
        check_threshold(threshold)
        weights = prunable_weights(net, self.include_classifier, self.keep)
        if threshold and not weights:
            warnings.warn(nothing_prunable(net), NoEffectWarning, stacklevel=2)
        for weight in weights:
            zero_smallest_of([weight], round(threshold * weight.parameter.numel()))
        return net
