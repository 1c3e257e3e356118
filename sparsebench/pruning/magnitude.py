"""Global magnitude pruning: the smallest weights of the whole network become zero."""

from collections.abc import Callable, Collection, Sequence

from torch import Tensor, nn

from sparsebench.errors import PruningError
from sparsebench.pruning.base import WeightPruner
from sparsebench.pruning.selection import NotFiniteError, Selector, zero_smallest
from sparsebench.pruning.weights import PrunableWeight, elements


def prune_net(
    model: nn.Module, threshold: float, include_classifier: bool = False, keep: Collection[str] = ()
) -> nn.Module:
    """Set the smallest weights of a network to zero, in place.

    Exactly ``round(threshold × prunable)`` weights, the smallest in magnitude over all prunable weights together, are
    zero afterwards, or more where more were zero before. They are those that
    ``torch.nn.utils.prune.global_unstructured`` with ``L1Unstructured`` chooses; equal magnitudes are taken in the
    order of the weights. No mask is kept: a later training step may move a zero again.

    Args:
        model: the network; see ``prunable_weights`` for what is prunable in it.
        threshold: fraction of the prunable weights, in [0, 1).
        include_classifier: whether the last prunable layer is pruned as well.
        keep: names of layers, or patterns such as ``features.*``, that are not pruned.

    Returns:
        ``model`` itself.

    Raises:
        PruningError: where the threshold is out of range, or a weight is NaN or infinite; nothing is changed then.

    Warns:
        NoEffectWarning: where the threshold is above 0 and nothing is prunable.
    """
    weights = WeightPruner(include_classifier, keep).weights_of(model, threshold)
    zero_smallest_of(weights, round(threshold * elements(weights)))
    return model


def zero_smallest_of(
    weights: Sequence[PrunableWeight], count: int, select: Callable[[Sequence[Tensor], int], None] = zero_smallest
) -> None:
    """Set the ``count`` smallest elements of all the weights together to zero, in place.

    Args:
        weights: the weights.
        count: how many of their elements.
        select: ``zero_smallest``, or that of a ``Selector`` where the same weights are pruned again and again.

    Raises:
        PruningError: where a weight is NaN or infinite; nothing is changed then.
    """
    # Of a computed weight the values are a copy, of which only the zeros are taken over.
    values = [weight.parameter if weight.computed is None else weight.values().clone() for weight in weights]
    try:
        select(values, count)
    except NotFiniteError as error:
        name = weights[error.index].name
        raise PruningError(
            f"The weight {name} holds NaN or infinity, so the smallest weights cannot be told. "
            "Training has diverged; lower the learning rate, or start from a sound checkpoint."
        ) from error
    if count > 0:
        for weight, selected in zip(weights, values, strict=True):
            if weight.computed is not None:
                weight.zero(selected == 0)


class Magnitude(WeightPruner):
    """The pruner ``magnitude``: ``prune_net`` with a fixed choice about the classifier.

    It remembers the magnitude up to which it pruned, which makes repeated calls during training faster and changes
    nothing else.
    """

    def __init__(self, include_classifier: bool = False, keep: Collection[str] = ()) -> None:
        super().__init__(include_classifier, keep)
        self._selector = Selector()

    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Set the fraction ``threshold`` of the prunable weights to zero, in place; see ``prune_net``."""
        weights = self.weights_of(net, threshold)
        zero_smallest_of(weights, round(threshold * elements(weights)), self._selector.zero_smallest)
        return net
