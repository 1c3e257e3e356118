"""What every pruner is, and what every pruner asks of a threshold."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import nn

from sparsebench.errors import PruningError
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
        ...


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
    cls = PRUNERS.load(name)
    problem = options_problem("Pruner", name, cls, options, ("include_classifier", "keep"))
    if problem:
        raise PruningError(problem)
    pruner: Pruner = cls(**{"include_classifier": include_classifier, "keep": tuple(keep), **options})
    return pruner
