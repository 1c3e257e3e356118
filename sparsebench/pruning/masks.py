"""Zeros that stay: training that changes the weights that are left and makes no zero of the others, nor more of them.

Fine-tuning and quantization-aware training go on with a network that was pruned before. An optimizer knows nothing of
its zeros and moves them, so they are noted at the start and set back whenever they may have been moved.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsebench.errors import PruningError
from sparsebench.pruning.base import prunable_weights


@dataclass(frozen=True)
class Masks:
    """Which elements of which weights are zero.

    Attributes:
        zeros: for each weight that has any, by the parameter's full name, bool in the shape of the weight: True where
            it is zero.
    """

    zeros: Mapping[str, Tensor]

    def __len__(self) -> int:
        """Return the number of zeros."""
        return sum(int(zeros.sum()) for zeros in self.zeros.values())

    @torch.no_grad()
    def apply(self, net: nn.Module) -> None:
        """Set the masked elements of ``net`` to zero, in place.

        Args:
            net: the network that the zeros were captured in, or another with weights of the same names and shapes, such
                as one that was prepared for quantization-aware training; on any device.

        Raises:
            PruningError: where a masked weight is missing or has another shape; nothing is changed then.
        """
        weights = [self._weight(net, name, zeros) for name, zeros in self.zeros.items()]
        for weight, zeros in zip(weights, self.zeros.values(), strict=True):
            weight.masked_fill_(zeros.to(weight.device), 0)

    def after_step(self, net: nn.Module, step: int, end_of_epoch: bool, optimizer: Optimizer) -> None:  # noqa: ARG002
        """Set the zeros of ``net`` back after any training step, where no ``GradualPruning`` makes more of them."""
        self.apply(net)

    def complete(self, step: int) -> bool:  # noqa: ARG002 - as of GradualPruning
        """Whether the network is at full sparsity: it always is."""
        return True

    @contextmanager
    def kept(self, net: nn.Module) -> Iterator[nn.Module]:
        """Keep the zeros of ``net`` while somebody else trains it, whatever the optimizer and the loop.

        They are set back before every forward pass, in training and in validation alike, and at the end. So a state
        dict that is copied after a validation has them too. A network that the training returns in place of ``net``
        needs an ``apply`` of its own, unless it is a copy of ``net``.

        Yields:
            ``net`` itself.

        Raises:
            PruningError: as ``apply`` does.
        """
        self.apply(net)
        hook = net.register_forward_pre_hook(self._before_forward)
        try:
            yield net
        finally:
            hook.remove()
        self.apply(net)

    def _before_forward(self, net: nn.Module, inputs: Any) -> None:  # noqa: ARG002 - the signature of a hook
        # Of the network that is run: a copy of the one that was hooked keeps its own zeros.
        self.apply(net)

    @staticmethod
    def _weight(net: nn.Module, name: str, zeros: Tensor) -> nn.Parameter:
        try:
            weight = net.get_parameter(name)
        except AttributeError as error:
            raise PruningError(
                f"{type(net).__name__} has no weight {name}, whose zeros are to be kept; "
                "capture them in this network, or in one with the same names."
            ) from error
        if weight.shape != zeros.shape:
            raise PruningError(
                f"The weight {name} has the shape {tuple(weight.shape)}, but zeros of the shape {tuple(zeros.shape)} "
                "are to be kept; capture them again once the network has its final structure."
            )
        return weight


@torch.no_grad()
def capture_zeros(net: nn.Module, include_classifier: bool = True, keep: Collection[str] = ()) -> Masks:
    """Note which prunable weights of ``net`` are zero.

    Args:
        net: a network, usually one that was pruned; it is not changed.
        include_classifier: whether zeros of the last prunable layer are noted as well.
        keep: names of layers, or patterns such as ``features.*``, whose zeros are not noted.

    Returns:
        Masks on the device of the weights; empty for a network without zeros.
    """
    weights = prunable_weights(net, include_classifier, keep)
    found = {weight.name: weight.parameter.detach() == 0 for weight in weights}
    return Masks({name: zeros for name, zeros in found.items() if bool(zeros.any())})
