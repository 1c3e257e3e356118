"""The losses of training beside the plain one."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.errors import TrainingError
from sparsebench.tensors import arguments_of, scores_in

Criterion = Callable[[Any, Tensor], Tensor]


def smoothed(criterion: Criterion, label_smoothing: float) -> Criterion:
    """Return the criterion with smoothed labels (Szegedy et al., Rethinking the Inception Architecture, 2016).

    Args:
        criterion: a loss of logits and labels; it is not changed.
        label_smoothing: share of each label, in [0, 1), that is spread evenly over all classes.

    Raises:
        TrainingError: where the share is out of range, or the criterion is no ``nn.CrossEntropyLoss``.
    """
    if not 0 <= label_smoothing < 1:
        raise TrainingError(f"label_smoothing is {label_smoothing}; it must be in [0, 1).")
    if not label_smoothing:
        return criterion
    if not isinstance(criterion, nn.CrossEntropyLoss):
        raise TrainingError(
            f"label_smoothing is made for nn.CrossEntropyLoss, and the criterion is {type(criterion).__name__}; "
            "set label_smoothing to 0, or smooth in the criterion itself."
        )
    smoothing = copy.copy(criterion)
    smoothing.label_smoothing = label_smoothing
    return smoothing


@dataclass(frozen=True)
class Distillation:
    """Learning from the outputs of a teacher beside the labels: (1 - alpha) L + alpha T² KL(teacher ‖ student).

    Both distributions are softened by the temperature T. T² keeps the weight of the two terms when T is changed
    (Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2).

    Attributes:
        teacher: the network that is learnt from, in evaluation mode.
        alpha: weight of its part, in (0, 1].
        temperature: above 0.
    """

    teacher: nn.Module
    alpha: float
    temperature: float

    def __call__(self, loss: Tensor, outputs: Any, inputs: Any) -> Tensor:
        """Add the teacher's part to the loss by the labels, a scalar; the student's outputs have logits (N, C)."""
        with torch.no_grad():
            answered = self.teacher(*arguments_of(self.teacher, inputs))
        outputs, targets = scores_in(outputs), scores_in(answered)
        student, teacher = (_log_probabilities(logits, self.temperature) for logits in (outputs, targets))
        divergence = nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return (1 - self.alpha) * loss + self.alpha * self.temperature**2 * divergence


def distillation(
    options: Mapping[str, float] | None, teacher: nn.Module | None, device: torch.device, dtype: torch.dtype
) -> Distillation | None:
    """Return how a training learns from a teacher, or None where ``options`` is None.

    Args:
        options: ``alpha`` (0.5 by default) and ``temperature`` (4).
        teacher: the network to learn from; it is copied.
        device: where the training runs.
        dtype: its precision.

    Raises:
        TrainingError: where an option is not allowed or there is no teacher.
    """
    if options is None:
        return None
    unknown = sorted(set(options) - {"alpha", "temperature"})
    alpha, temperature = options.get("alpha", 0.5), options.get("temperature", 4.0)
    if unknown:
        raise TrainingError(f"distill does not take {', '.join(unknown)}; it takes alpha and temperature.")
    if not (0 < alpha <= 1 and temperature > 0):
        raise TrainingError(
            f"distill has alpha {alpha} and temperature {temperature}; alpha must be in (0, 1], temperature above 0."
        )
    if teacher is None:
        raise TrainingError("distill is on but there is no teacher; set the trainer's teacher to the dense network.")
    copied = copy.deepcopy(teacher).to(device=device, dtype=dtype)
    return Distillation(copied.eval().requires_grad_(False), alpha, temperature)


def _log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    # Autocast leaves logits in half precision, whose differences a temperature makes still smaller.
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return nn.functional.log_softmax(exact / temperature, dim=1)
