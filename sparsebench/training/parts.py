"""What the reference trainer does behind its methods: memory layout, sparsity, checkpoints."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader

from sparsebench.errors import NoEffectWarning, TrainingError
from sparsebench.pruning import (
    GradualPruning,
    Masks,
    capture_zeros,
    check_threshold,
    nothing_prunable,
    prunable_weights,
)
from sparsebench.pruning.base import is_structural
from sparsebench.pruning.per_layer import pruner_of_training
from sparsebench.pruning.schedules import gradual_pruning
from sparsebench.tensors import arguments_of, batch_of, moved
from sparsebench.training.checkpoints import Checkpoints, Progress, digest
from sparsebench.training.evaluation import EvaluationParts
from sparsebench.training.layout import runs_channels_last, wants_channels_last
from sparsebench.training.losses import Distillation
from sparsebench.training.settings import TrainingSettings as TrainingSettings
from sparsebench.training.steps import autocast


class TrainerParts(EvaluationParts):
    """What nobody need override; see ``Trainer`` for the attributes."""

    datasizes: dict[str, int]
    devicy: torch.device
    pruning: bool
    _distillation: Distillation | None = None
    _training_criterion: Callable[[Any, Tensor], Tensor] | None = None

    @property
    def dataloaders(self) -> dict[str, DataLoader[Any]] | None:
        """The same as ``dataloader``."""
        return self.dataloader

    @dataloaders.setter
    def dataloaders(self, loaders: dict[str, DataLoader[Any]] | None) -> None:
        self.dataloader = loaders

    @property
    def _steps(self) -> int:
        batches = len(self._loader("train"))
        if self.steps_per_epoch is not None and not 1 <= self.steps_per_epoch <= batches:
            raise TrainingError(
                f"steps_per_epoch is {self.steps_per_epoch}; the training split has {batches} batches, so that 1 to "
                f"{batches} are allowed, or None for all of them."
            )
        return self.steps_per_epoch or batches

    def _example(self) -> Any:
        # Two validation samples on the CPU, with which a network can be followed.
        inputs, _ = next(self._batches("val", torch.device("cpu")))
        return inputs if isinstance(inputs, PackedSequence) else batch_of(inputs, 2)

    def _is_laid_out(self, net: nn.Module) -> bool:
        """Whether a network is trained with its images' channels last."""
        if not wants_channels_last(self.channels_last, net, self.devicy, self.amp):
            return False
        with torch.random.fork_rng(devices=[]), autocast(self.amp, self.devicy):
            if runs_channels_last(net, moved(arguments_of(net, self._example()), self.devicy)):
                return True
        if self.channels_last == "on":
            warnings.warn(
                f"channels_last = 'on' had no effect: {type(net).__name__} does not run with its channels last, as "
                "where it views the result of a convolution as a vector; write flatten or reshape in place of view.",
                NoEffectWarning,
                stacklevel=3,
            )
        return False

    def _sparsity(self, model: nn.Module, steps: int, threshold: float) -> GradualPruning | Masks | None:
        # Settings are checked in any case.
        pruner = pruner_of_training(
            self.pruner, self.pruner_options, self.per_layer, self.include_classifier, threshold
        )
        gradual = gradual_pruning(pruner, self.schedule, threshold, steps, self.hold, self.prune_every)
        if self.keep_zeros:
            return capture_zeros(model, keep=self._kept)
        if not self.pruning or threshold == 0:
            return None
        check_threshold(threshold)
        if not prunable_weights(model, self.include_classifier, self._kept):
            # Once here, not after every step.
            warnings.warn(nothing_prunable(model), NoEffectWarning, stacklevel=3)
            return None
        if is_structural(pruner):
            pruner.prepare(model, self._example(), threshold)
        return gradual

    def _checkpoints(self, progress: Progress, path: Path, epochs: int, threshold: float) -> Checkpoints | None:
        # Called before anything has changed.
        if self.checkpoint_seconds is None:
            return None
        optimizer, scheduler, criterion = progress.optimizer, progress.scheduler, self.criterion
        settings = self.what_matters() | {
            "trainer": f"{type(self).__module__}.{type(self).__qualname__}",
            "pruning": self.pruning,
            "dtype": self.dtype,
            "datasizes": self.datasizes,
            "batches": len(self._loader("train")),
            "epochs": epochs,
            "threshold": threshold,
            "criterion": getattr(criterion, "__qualname__", repr(criterion)),
            "optimizer": type(optimizer).__name__,
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups],
            "scheduler": (type(scheduler).__name__, scheduler.state_dict() if scheduler else None),
        }
        others = (self.teacher if self.distill else None, criterion if isinstance(criterion, nn.Module) else None)
        return Checkpoints(path, digest(settings, progress.model, *others), self.checkpoint_seconds)

    @property
    def _kept(self) -> tuple[str, ...]:
        return tuple(pattern for pattern, threshold in self.per_layer.items() if threshold == 0)
