"""The steps of training: one epoch after another of forward, backward, update, and what keeps a network sparse."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from sparsebench.errors import PruningError
from sparsebench.training.autocast import Precision
from sparsebench.training.compiling import compile_errors_in_words, compiled
from sparsebench.training.losses import check_losses, too_few_outputs_in_words

# Reading a loss makes the CPU wait for a GPU, so there it is looked at only now and then.
_STEPS_BETWEEN_LOOKS_ON_GPU = 64


class Sparsity(Protocol):
    """What makes or keeps zeros while a network is trained."""

    def after_step(self, net: nn.Module, step: int, end_of_epoch: bool, optimizer: Optimizer) -> None:
        """Do what is due after a training step, counted from 1 over all epochs."""

    def complete(self, step: int) -> bool:
        """Whether the network is at full sparsity after this step."""


class Steps:
    """Trains a network over the batches of an epoch.

    Args:
        model: the network.
        optimizer: steps its parameters.
        scheduler: stepped after every training step; None for a constant rate.
        precision: how losses are computed and differentiated.
        sparsity: what makes or keeps zeros; None for nothing.
        loss: of a network in training mode, inputs and labels.
        compile_network: whether ``torch.compile`` compiles the network for its training steps.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        scheduler: lr_scheduler.LRScheduler | None,
        precision: Precision,
        sparsity: Sparsity | None,
        loss: Callable[[nn.Module, Any, Tensor], Tensor],
        compile_network: bool = False,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.precision = precision
        self.sparsity = sparsity
        self.loss = loss
        self._compiles = compile_network
        self._runs = compiled(model) if compile_network else model

    def epoch(self, batches: Iterator[tuple[Any, Tensor]], number: int, steps: int, device: torch.device) -> float:
        """Train over ``batches`` once and return the mean loss.

        Args:
            batches: inputs and labels, on ``device``.
            number: of the epoch, from 1.
            steps: how many batches there are.
            device: where the network is.

        Raises:
            TrainingError: where a loss is NaN or infinite.
        """
        self.model.train()
        losses = torch.zeros(steps, device=device)
        every = 1 if device.type == "cpu" else _STEPS_BETWEEN_LOOKS_ON_GPU
        for step, (inputs, labels) in enumerate(batches, start=1):
            self.optimizer.zero_grad(set_to_none=True)
            with self._in_words():
                with self.precision.autocast(), too_few_outputs_in_words(self.model):
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

    def _in_words(self) -> AbstractContextManager[None]:
        return compile_errors_in_words(self.model) if self._compiles else nullcontext()
