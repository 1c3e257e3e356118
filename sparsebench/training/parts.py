"""What the reference trainer is set to and does behind its methods: batches, memory layout, sparsity, checkpoints.

Settings are what the fixed constructor of the contract cannot carry.
"""

import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader

from sparsebench.config import MAX_CALIBRATION_BATCHES
from sparsebench.errors import DataError, NoEffectWarning, SparsebenchError, TrainingError
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
from sparsebench.tensors import arguments_of, batch_of, cloned, moved
from sparsebench.training.accuracy import Hits, Judge, ignored_index
from sparsebench.training.batches import Span, labels_of_batch, parts_of_batch, span_of
from sparsebench.training.checkpoints import Checkpoints, Progress, digest
from sparsebench.training.layout import channels_last, channels_last_weights, runs_channels_last, wants_channels_last
from sparsebench.training.loaders import gives_copies
from sparsebench.training.losses import Distillation
from sparsebench.training.steps import Epoch, autocast

_MATTERS = (
    *("pruner", "pruner_options", "per_layer", "schedule", "hold", "prune_every", "include_classifier", "keep_zeros"),
    *("steps_per_epoch", "label_smoothing", "clip_norm", "distill", "amp"),
)


class TrainingSettings:
    """Class attributes that a subclass or an instance may set, as the config of a run does."""

    pruner: str = "magnitude"
    """How weights are chosen: a name in ``PRUNERS``."""
    pruner_options: Mapping[str, Any] = MappingProxyType({})
    """Further keyword arguments of the pruner."""
    per_layer: Mapping[str, float] = MappingProxyType({})
    """Thresholds of their own for layers, by name or pattern; 0 keeps a layer dense."""
    schedule: str = "linear"
    """How sparsity grows: a name in ``SCHEDULES``."""
    hold: float = 0.0
    """Fraction of training, at its end, that is spent at full sparsity; in [0, 1)."""
    prune_every: int = 1
    """Training steps between two prunings; the end of an epoch always prunes."""
    include_classifier: bool = False
    """Whether the last prunable layer is pruned as well."""
    keep_zeros: bool = False
    """Whether training keeps the zeros that the network starts with, and makes no more, in place of pruning."""
    calibration_batches: int = MAX_CALIBRATION_BATCHES
    """Training batches read by ``evaluate(net, quant_mode=True)``; never more than 2000."""
    optimizer_name: str = "adam"
    """How weights are updated: a name in ``OPTIMIZERS``."""
    optimizer_options: Mapping[str, Any] = MappingProxyType({})
    """Further keyword arguments of the optimizer, such as ``momentum`` and ``weight_decay``."""
    learning_schedule: str = "step"
    """How the learning rate changes: a name in ``LEARNING_SCHEDULES``."""
    learning_schedule_options: Mapping[str, Any] = MappingProxyType({})
    """Further keyword arguments of the learning schedule."""
    learning_warmup: float = 0.0
    """Fraction of training, at its beginning, over which the learning rate rises linearly; in [0, 1)."""
    steps_per_epoch: int | None = None
    """Training steps after which an epoch ends; None for a pass over the training split."""
    label_smoothing: float = 0.0
    """Share of each label, in [0, 1), that is spread evenly over all classes in training."""
    clip_norm: float | None = None
    """Largest norm of the gradients of all parameters together; None for any."""
    distill: Mapping[str, float] | None = None
    """``alpha`` and ``temperature`` of learning from ``teacher`` too, see ``Distillation``; None for labels alone."""
    teacher: nn.Module | None = None
    """The network that ``distill`` learns from: the dense one."""
    amp: str = "none"
    """Autocast during training: ``none``, ``bf16`` or, on a GPU, ``fp16``."""
    channels_last: str = "auto"
    """Whether images and weights have their channels last during training: ``auto`` where that is faster, ``on``,
    ``off``. They have in evaluation where that is faster, unless ``off``."""
    compile: bool = False
    """Whether ``torch.compile`` compiles the network for its training steps."""
    checkpoint_seconds: float | None = None
    """Least time between two checkpoints, from which a training that was killed goes on when the same is started again:
    same settings, seed and weights, and a data set of the same sizes. 0 writes one after every epoch, None none. They
    are ``models_path/name.resume.pt``. Chance in worker processes of a loader is not part of them."""
    keep_checkpoint: bool = False
    """Whether the last checkpoint stays when training is done, for a caller that has yet to save what was trained."""
    on_epoch: Callable[[Epoch], None] | None = None
    """Called after each epoch."""

    def what_matters(self) -> dict[str, Any]:
        """Return the settings that the result of a training depends on, by name; rates are those of its optimizer."""
        found = {name: getattr(self, name) for name in _MATTERS}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in found.items()}


class TrainerParts(TrainingSettings):
    """What nobody need override; see ``Trainer`` for the attributes."""

    datasizes: dict[str, int]
    dtype: torch.dtype
    devicy: torch.device
    pruning: bool
    dataloader: dict[str, DataLoader[Any]] | None
    criterion: Callable[[Any, Tensor], Tensor]
    _channels_last: bool = False
    _span: Span | None = None
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

    def _loader(self, split: str) -> DataLoader[Any]:
        if not self.dataloader:
            raise DataError("There are no data loaders yet; call load_dataloaders(batch_size, collate_fn) first.")
        return self.dataloader[split]

    def _batches(self, split: str, device: torch.device) -> Iterator[tuple[Any, Tensor]]:
        """Yield the inputs, floating ones in ``dtype``, and the labels of each batch of a split, on a device.

        Whoever gets them may change them.
        """
        loader, ignored = self._loader(split), ignored_index(self.criterion)
        for number, batch in enumerate(loader):
            inputs, given = parts_of_batch(batch, split)
            labels = labels_of_batch(given, split, self.dtype)
            # A GPU, which one would have to wait for, holds the same labels in each epoch.
            known = labels.is_cuda and self._read_whole[split]
            self._span = None if known else span_of(labels, ignored)
            inputs = moved(inputs, device, self.dtype)
            if not gives_copies(loader):
                inputs = cloned(inputs)
            if self._channels_last:
                inputs = channels_last(inputs)
            yield inputs, labels.to(device, non_blocking=True)
            self._read_whole[split] |= number + 1 == len(loader)

    def _answers(self, net: nn.Module, split: str, device: torch.device) -> Iterator[tuple[Any, Tensor]]:
        """Yield what a network returns for each batch of a split, and the labels, checked against each other."""
        for inputs, labels in self._batches(split, device):
            outputs = net(*arguments_of(net, inputs))
            self._check(net, outputs, labels, split)
            yield outputs, labels

    def _check(self, net: nn.Module, outputs: Any, labels: Tensor, split: str) -> None:
        self._judge.check(self.criterion, net, outputs, labels, self._span, split)

    @cached_property
    def _judge(self) -> Judge:
        return Judge()

    @cached_property
    def _read_whole(self) -> defaultdict[str, bool]:
        # Whether a whole pass over a split was made.
        return defaultdict(bool)

    def _scored(self, net: nn.Module, split: str, device: torch.device) -> Hits:
        """Return which samples of a split a network gets right."""
        # Networks of other runtimes have no convolutions of torch, and no layout to choose.
        faster = self.channels_last != "off" and wants_channels_last("auto", net, device, "none")
        for laid_out in (True, False) if faster else (False,):
            try:
                with self._laid_out(net, laid_out), torch.inference_mode():
                    judged = [
                        self._judge.hits(self.criterion, net, outputs, labels)
                        for outputs, labels in self._answers(net, split, device)
                    ]
                break
            except RuntimeError:
                # Some networks take one layout for granted: they view the result of a convolution as a vector.
                if not laid_out:
                    raise
        return Hits.joined(judged)

    def _calibrated(self, net: nn.Module) -> float:
        if self.calibration_batches < 1:
            raise SparsebenchError(f"calibration_batches is {self.calibration_batches}; it must be 1 to 2000.")
        limit = min(self.calibration_batches, MAX_CALIBRATION_BATCHES)
        net.to("cpu")
        with torch.no_grad():
            answers = itertools.islice(self._answers(net, "train", torch.device("cpu")), limit)
            judged = [self._judge.hits(self.criterion, net, outputs, labels) for outputs, labels in answers]
        return float(Hits.joined(judged).top1.double().mean())

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

    @contextmanager
    def _laid_out(self, net: nn.Module, wanted: bool) -> Iterator[None]:
        """Keep the weights of a network and the inputs of its batches with their channels last, where that is wanted.

        Inside itself, where a training evaluates, it changes nothing.
        """
        before = self._channels_last
        self._channels_last = before or wanted
        try:
            with channels_last_weights(net, wanted and not before):
                yield
        finally:
            self._channels_last = before

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
