"""Layer-wise magnitude pruning: in every layer the same fraction of its smallest weights becomes zero."""

from torch import nn

from sparsebench.pruning.base import WeightPruner
from sparsebench.pruning.magnitude import zero_smallest_of


class LayerMagnitude(WeightPruner):
    """The pruner ``layer_magnitude``: no layer can collapse, however small its weights are.

    Of each weight tensor ``round(threshold × its size)`` elements are zero afterwards, those that
    ``torch.nn.utils.prune.l1_unstructured`` chooses; over all layers the fraction differs from the threshold by
    rounding only.
    """

    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Set the fraction ``threshold`` of each prunable weight to zero, in place.

        Raises:
            PruningError: where the threshold is out of range, or a weight is NaN or infinite.
        """
        for weight in self.weights_of(net, threshold):
            zero_smallest_of([weight], round(threshold * weight.parameter.numel()))
        return net
