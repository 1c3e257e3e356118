"""Losses that tell that training cannot go on, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsebench.errors import ModelError, TrainingError


def check_losses(losses: Tensor, epoch: int, optimizer: Optimizer) -> None:
    """Raise where a loss of an epoch is NaN or infinite, naming the first such step.

    Args:
        losses: (steps,) so far; on the CPU, where each is looked at in turn, only the last is new.
        epoch: the number of the epoch.
        optimizer: tells the learning rate.

    Raises:
        TrainingError: with the step and the remedy.
    """
    finite = torch.isfinite(losses[-1] if losses.device.type == "cpu" else losses)
    if not bool(finite.all()):
        step = int(torch.isfinite(losses).int().argmin())
        raise diverged(f"loss is {float(losses[step])}", f"epoch {epoch}, step {step + 1}", optimizer)


def diverged(found: str, where: str, optimizer: Optimizer) -> TrainingError:
    """Return the error for a loss that is no number."""
    rate = optimizer.param_groups[0].get("lr", "unknown")
    return TrainingError(
        f"The {found} at {where}; lower learning_rate ({rate:g} there), or look for NaN in the inputs and for "
        "labels that are out of range."
    )


@contextmanager
def too_few_outputs_in_words(model: nn.Module) -> Iterator[None]:
    """Say in words what the loss means by a target that is out of bounds.

    Raises:
        ModelError: where the network has fewer outputs than the data has classes.
    """
    try:
        yield
    except IndexError as error:
        if not str(error).startswith("Target"):
            raise
        raise ModelError(
            f"{type(model).__name__} has fewer outputs than there are classes in the data ({error}); "
            "build it with the number of classes of the data."
        ) from error
