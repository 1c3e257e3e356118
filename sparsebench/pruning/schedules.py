"""How sparsity grows while a network is trained, or stays as it is.

A schedule is a function ``(progress, threshold) -> sparsity``: ``progress`` is the share, in (0, 1], of the pruning
phase that is over, and the sparsity at progress 1 is exactly the threshold. A new schedule is one function and one line
in ``SCHEDULES``.

Fine-tuning and quantization-aware training go on with a network that was pruned before. An optimizer knows nothing of
its zeros and moves them, so they are noted at the start and set back whenever they may have been moved.
"""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsebench.errors import PruningError, SparsebenchError, UnreachedWarning
from sparsebench.pruning.base import Pruner, is_structural
from sparsebench.pruning.weights import PrunableWeight, prunable_weights, weight_of
from sparsebench.registry import SCHEDULES

INITIAL_SPARSITY = 0.01
"""Where gradual schedules begin; a threshold below it is used at once."""

Schedule = Callable[[float, float], float]


def linear(progress: float, threshold: float) -> float:
    """Return the sparsity that grows evenly from 0.01 to the threshold."""
    if progress >= 1:
        return threshold
    start = min(INITIAL_SPARSITY, threshold)
    return min(threshold, start + (threshold - start) * progress)


def cubic(progress: float, threshold: float) -> float:
    """Return the sparsity that grows fast at first and slowly near the threshold.

    s = s_f + (s_i - s_f)(1 - progress)³, Zhu and Gupta, "To prune, or not to prune" (2017), equation 1, with s_i 0.01.
    """
    if progress >= 1:
        return threshold
    start = min(INITIAL_SPARSITY, threshold)
    return max(start, threshold + (start - threshold) * (1 - progress) ** 3)


def constant(progress: float, threshold: float) -> float:  # noqa: ARG001 - the signature of every schedule
    """Return the threshold from the first step on."""
    return threshold


def one_shot(progress: float, threshold: float) -> float:
    """Return 0 until the pruning phase ends, then the threshold; what is held afterwards is fine-tuning."""
    return threshold if progress >= 1 else 0.0


@dataclass(frozen=True)
class GradualPruning:
    """A pruner, a schedule, and the training steps over which the one follows the other.

    Attributes:
        pruner: how weights are chosen.
        schedule: how sparsity grows.
        threshold: fraction of zeros at the end, in [0, 1).
        phase: training steps until the threshold is reached; at least 1.
        every: training steps between two prunings; at least 1.
    """

    pruner: Pruner
    schedule: Schedule
    threshold: float
    phase: int
    every: int = 1

    def sparsity(self, step: int) -> float:
        """Return the sparsity due after training step ``step``, counted from 1."""
        if not is_structural(self.pruner):
            return self.schedule(min(1.0, step / self.phase), self.threshold)
        cut = self._cuts(step, self.pruner.steps)
        return self.schedule(cut / self.pruner.steps, self.threshold) if cut else 0.0

    def due(self, step: int, end_of_epoch: bool) -> bool:
        """Whether to prune after this step.

        The end of an epoch is always due, so that validation sees the true sparsity and a network saved there has it.
        A pruner that changes the structure has its own few moments.
        """
        if is_structural(self.pruner):
            return self._cuts(step, self.pruner.steps) > self._cuts(step - 1, self.pruner.steps)
        return end_of_epoch or step == self.phase or step % self.every == 0

    def complete(self, step: int) -> bool:
        """Whether the network is at full sparsity after this step."""
        if is_structural(self.pruner):
            return self._cuts(step, self.pruner.steps) == self.pruner.steps
        return step >= self.phase

    def _cuts(self, step: int, steps: int) -> int:
        # Changes of structure divide the phase into equal parts, so that training follows each of them, the last one
        # too: a network whose channels have just been removed is no measure of what it can do.
        return min(steps, step * (steps + 1) // self.phase)

    def after_step(self, net: nn.Module, step: int, end_of_epoch: bool, optimizer: Optimizer | None = None) -> None:
        """Prune ``net`` in place where it is due after this training step.

        This goes on after the phase is over: the optimizer moves zeros, and pruning sets them back. Channels that were
        removed do not come back; ``optimizer`` is then made to hold the parameters that are left.
        """
        if not self.due(step, end_of_epoch):
            return
        if not is_structural(self.pruner):
            self.pruner.prune(net, self.sparsity(step))
            return
        with warnings.catch_warnings():
            if not self.complete(step):
                # Nobody asked for exactly what lies on the way.
                warnings.simplefilter("ignore", UnreachedWarning)
            self.pruner.prune(net, self.sparsity(step))
        if optimizer is not None:
            self.pruner.follow(optimizer)


def gradual_pruning(
    pruner: Pruner, schedule: str, threshold: float, steps: int, hold: float, every: int
) -> GradualPruning:
    """Return how a training of ``steps`` steps, the last share ``hold`` of them at full sparsity, follows a pruner.

    Raises:
        SparsebenchError: where a setting is out of range or not known.
    """
    if not 0 <= hold < 1:
        raise SparsebenchError(f"hold is {hold}; it is the fraction of training at full sparsity, in [0, 1).")
    if every < 1:
        raise SparsebenchError(f"prune_every is {every}; prune every 1 step or more.")
    return GradualPruning(pruner, SCHEDULES.load(schedule), threshold, max(1, round((1 - hold) * steps)), every)


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
            weight.zero(zeros)

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
    def _weight(net: nn.Module, name: str, zeros: Tensor) -> PrunableWeight:
        try:
            weight = weight_of(net, name)
        except AttributeError as error:
            raise PruningError(
                f"{type(net).__name__} has no weight {name}, whose zeros are to be kept; "
                "capture them in this network, or in one with the same names."
            ) from error
        shape = tuple(weight.parameter.shape)
        if shape != zeros.shape:
            raise PruningError(
                f"The weight {name} has the shape {shape}, but zeros of the shape {tuple(zeros.shape)} "
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
    found = {weight.name: weight.values() == 0 for weight in weights}
    return Masks({name: zeros for name, zeros in found.items() if bool(zeros.any())})
