"""Pruners that change the structure of a network: what they offer beside ``prune``."""

from typing import Any, Protocol, TypeGuard

from torch import nn
from torch.optim import Optimizer

from sparsebench.pruning.base import Pruner


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
        ...

    def follow(self, optimizer: Optimizer) -> None:
        """Let an optimizer of the network go on with the parameters that the last ``prune`` left."""
        ...


def is_structural(pruner: Pruner) -> TypeGuard[StructuralPruner]:
    """Whether a pruner says of itself that it changes structures."""
    return bool(getattr(pruner, "structured", False))
