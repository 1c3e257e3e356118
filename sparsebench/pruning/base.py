"""What every pruner is, and what every pruner asks of a threshold."""

from typing import Protocol, runtime_checkable

from torch import nn

from sparsebench.errors import PruningError


@runtime_checkable
class Pruner(Protocol):
    """A way of choosing the weights that become zero.

    A pruner is built with ``include_classifier`` (False by default) and may be called after every training step, so
    ``prune`` must be quick, and must give the same result when it is called twice with the same threshold.
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
