"""What every pruner is, and what it asks of a threshold."""

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, TypeGuard, runtime_checkable

from torch import nn
from torch.optim import Optimizer

from sparsebench.errors import NoEffectWarning, PruningError
from sparsebench.pruning.weights import PrunableWeight, prunable_weights
from sparsebench.registry import PRUNERS, options_problem


@runtime_checkable
class Pruner(Protocol):
    """A way of choosing the weights that become zero.

    A pruner is built with ``include_classifier`` (False by default), ``keep`` (patterns of layer names that are not
    pruned) and its own options, all as keywords. It may be called after every training step, so ``prune`` must be
    quick, and must give the same result when it is called twice with the same threshold.

    A pruner that reaches certain thresholds only says which in ``ONLY_THRESHOLDS``; they take the place of the sweep's.
    """

    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Set the fraction ``threshold`` of the prunable weights of ``net`` to zero, in place, and return ``net``."""


class StructuralPruner(Pruner, Protocol):
    """A pruner that makes the tensors of a network smaller in place of setting weights to zero.

    Its ``threshold`` is the fraction of the prunable weights that is removed. It is not called after every training
    step, but at ``steps`` moments that divide the phase in which sparsity grows into equal parts: the last part trains
    the final structure.

    Attributes:
        structured: True; on the class, so that a run knows that smaller networks are to be expected.
        steps: how many times channels are removed during training, at least 1.
    """

    structured: bool
    steps: int

    def prepare(self, net: nn.Module, example: Any, target: float = 0.0) -> None:
        """Check that ``net`` can be pruned and warn of what cannot; called once, before training.

        Args:
            net: the network; it is not changed.
            example: inputs that it takes, on the CPU and in its precision.
            target: the threshold at which pruning will end, so that no step on the way leads past it.
        """

    def follow(self, optimizer: Optimizer) -> None:
        """Let an optimizer of the network go on with the parameters that the last ``prune`` left."""


def is_structural(pruner: Pruner) -> TypeGuard[StructuralPruner]:
    """Whether a pruner says of itself that it changes structures."""
    return bool(getattr(pruner, "structured", False))


class WeightPruner:
    """What the pruners of single weights have in common: which layers they touch.

    Args:
        include_classifier: whether the last prunable layer is pruned as well.
        keep: names of layers, or patterns such as ``features.*``, that are not pruned.
    """

    def __init__(self, include_classifier: bool = False, keep: Collection[str] = ()) -> None:
        self.include_classifier = include_classifier
        self.keep = tuple(keep)

    def weights_of(self, net: nn.Module, threshold: float) -> tuple[PrunableWeight, ...]:
        """Return the weights that a threshold touches; none at 0.

        Raises:
            PruningError: where the threshold is out of range.

        Warns:
            NoEffectWarning: where the threshold is above 0 and nothing is prunable.
        """
        check_threshold(threshold)
        weights = prunable_weights(net, self.include_classifier, self.keep) if threshold else ()
        if threshold and not weights:
            warnings.warn(nothing_prunable(net), NoEffectWarning, stacklevel=3)
        return weights


def nothing_prunable(model: nn.Module) -> str:
    """Return the sentence that tells that ``model`` has no prunable weights."""
    return (
        f"Nothing was pruned: {type(model).__name__} has no Conv, Linear, LSTM, GRU or MultiheadAttention weights "
        "besides its last such layer, the classifier. Set include_classifier=True to prune that layer too."
    )


def check_threshold(threshold: float) -> None:
    """Raise where ``threshold`` is no fraction in [0, 1).

    Raises:
        PruningError: below 0, at or above 1, or not a number.
    """
    # Written so that NaN, which fails every comparison, is refused as well.
    if not 0.0 <= threshold < 1.0:
        raise PruningError(
            f"The threshold {threshold!r} is not in [0, 1). "
            "It is the fraction of prunable weights set to zero, for example 0.8; 0 is the dense control."
        )


def build_pruner(
    name: str, options: Mapping[str, Any], include_classifier: bool = False, keep: Collection[str] = ()
) -> Pruner:
    """Return the pruner called ``name``.

    Args:
        name: a name in ``PRUNERS``.
        options: the pruner's own keyword arguments.
        include_classifier: whether the last prunable layer is pruned as well.
        keep: names of layers, or patterns, that are not pruned.

    Raises:
        UnknownNameError: where no such pruner is known.
        PruningError: where it does not take these options.
    """
    cls: Callable[..., Pruner] = PRUNERS.load(name)
    if problem := options_problem("Pruner", name, cls, options, ("include_classifier", "keep")):
        raise PruningError(problem)
    return cls(**{"include_classifier": include_classifier, "keep": tuple(keep), **options})
