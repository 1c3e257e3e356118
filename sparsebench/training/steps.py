"""The steps of training, one epoch after another: forward, backward, update, and what keeps a network sparse."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from sparsebench.errors import ModelError, PruningError, TrainingError
from sparsebench.training.autocast import Precision
from sparsebench.training.losses import check_losses

# Reading a loss makes the CPU wait for a GPU, so there it is looked at only now and then.
_STEPS_BETWEEN_LOOKS_ON_GPU = 64


@dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    Attributes:
        epoch: its number, from 1.
        train_loss: mean loss of its training batches.
        val_loss: mean loss of all validation samples after it.
        val_accuracy: fraction of the validation samples classified rightly after it.
        threshold: fraction of the prunable weights that is zero after it, or removed with its channel.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    threshold: float


@dataclass
class BestEpoch:
    """Keeps the weights of the best epoch: highest validation accuracy, then lower validation loss, then the later.

    Attributes:
        number: of the best epoch so far; None before any was offered.
    """

    number: int | None = None
    rank: tuple[float, float] | None = None
    weights: dict[str, Any] = field(default_factory=dict)  # Empty where the network stands as after its best epoch.

    def offer(self, epoch: Epoch, model: nn.Module, last: bool) -> None:
        """Take an epoch into account, after which ``model`` stands as it is; the last one's weights need no copy."""
        rank = (epoch.val_accuracy, -epoch.val_loss)
        if self.rank is None or rank >= self.rank:
            self.rank, self.number = rank, epoch.epoch
            self.weights = {} if last else copy.deepcopy(model.state_dict())

    def restore(self, model: nn.Module) -> None:
        """Give ``model``, as it stands after the last epoch, the weights of the best."""
        if self.weights:
            model.load_state_dict(self.weights)


class Sparsity(Protocol):
    """What makes or keeps zeros while a network is trained."""

    def after_step(self, net: nn.Module, step: int, end_of_epoch: bool, optimizer: Optimizer) -> None:
        """Do what is due after a training step, counted from 1 over all epochs."""

    def complete(self, step: int) -> bool:
        """Whether the network is at full sparsity after this step."""


@dataclass
class Steps:
    """Trains a network over the batches of an epoch.

    Attributes:
        loss: of a network in training mode, inputs and labels.
        compile_network: whether ``torch.compile`` compiles the network for its training steps.
    """

    model: nn.Module
    optimizer: Optimizer
    scheduler: lr_scheduler.LRScheduler | None
    precision: Precision
    sparsity: Sparsity | None
    loss: Callable[[nn.Module, Any, Tensor], Tensor]
    compile_network: bool = False

    def __post_init__(self) -> None:
        self._runs: Any = self.model
        self._compiler_errors: tuple[type[Exception], ...] = ()
        if self.compile_network:
            from torch._dynamo.exc import TorchDynamoException  # Takes seconds, and most do not compile.

            self._runs, self._compiler_errors = torch.compile(self.model), (TorchDynamoException,)

    def epoch(self, batches: Iterator[tuple[Any, Tensor]], number: int, steps: int, device: torch.device) -> float:
        """Train over ``batches`` once and return the mean loss.

        Args:
            batches: inputs and labels, on ``device``.
            number: of the epoch, from 1.
            steps: how many batches there are.
            device: where the network is.

        Raises:
            TrainingError: where a loss is NaN or infinite, or the network cannot be compiled.
            ModelError: where the network has fewer outputs than the data has classes.
        """
        self.model.train()
        losses = torch.zeros(steps, device=device)
        every = 1 if device.type == "cpu" else _STEPS_BETWEEN_LOOKS_ON_GPU
        for step, (inputs, labels) in enumerate(batches, start=1):
            self.optimizer.zero_grad(set_to_none=True)
            with self._errors_in_words():
                with self.precision.autocast():
                    loss = self.loss(self._runs, inputs, labels)
                losses[step - 1] = loss.detach()
                if step % every == 0 or step == steps:
                    check_losses(losses[:step], number, self.optimizer)
                self.precision.update(loss, self.optimizer)
            if self.scheduler is not None:
                self.scheduler.step()
            if self.sparsity is not None:
                try:
                    self.sparsity.after_step(self.model, (number - 1) * steps + step, step == steps, self.optimizer)
                except PruningError:
                    # On a GPU, weights that are no numbers may be met before the loss that made them is looked at.
                    check_losses(losses[:step], number, self.optimizer)
                    raise
        return float(losses.mean())

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except IndexError as error:
            if not str(error).startswith("Target"):
                raise
            raise ModelError(
                f"{type(self.model).__name__} has fewer outputs than there are classes in the data ({error}); "
                "build it with the number of classes of the data."
            ) from error
        except self._compiler_errors as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = " ".join(lines[:2]) or type(error).__name__
            raise TrainingError(
                f"torch.compile cannot compile {type(self.model).__name__} ({reason}). Set compile to false to train "
                "it as it is; on a CPU, compiling needs a C++ compiler such as g++."
            ) from error
