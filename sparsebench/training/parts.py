"""What the reference trainer is set to and does behind its methods: batches, memory layout, sparsity, checkpoints.

Settings are what the fixed constructor of the contract cannot carry.
"""

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
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
from sparsebench.registry import unknown_name
from sparsebench.training.checkpoints import Checkpoints, Progress, digest
from sparsebench.training.loaders import to_device
from sparsebench.training.losses import Distillation
from sparsebench.training.steps import Epoch

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


_CHOICES = ("auto", "on", "off")


class TrainerParts(TrainingSettings):
    """What nobody need override; see ``Trainer`` for the attributes."""

    datasizes: dict[str, int]
    dtype: torch.dtype
    devicy: torch.device
    pruning: bool
    dataloader: dict[str, DataLoader[Any]] | None
    criterion: Callable[[Any, Tensor], Tensor]
    _channels_last: bool = False
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
        """Yield the inputs, floating ones in ``dtype``, and the labels of each batch of a split, on a device."""
        for batch in self._loader(split):
            if len(batch) != 2:
                raise DataError(f"A batch of the {split} split has {len(batch)} parts; it must be (inputs, labels).")
            inputs, labels = batch[0], torch.as_tensor(batch[1])
            # The loss takes class indices as int64 only.
            kind = labels.dtype if labels.is_floating_point() else torch.long
            inputs = to_device(inputs, self.dtype, device)
            if self._channels_last and isinstance(inputs, Tensor) and inputs.dim() == 4:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            yield inputs, labels.to(device, kind, non_blocking=True)

    def _calibrated(self, net: nn.Module) -> float:
        if self.calibration_batches < 1:
            raise SparsebenchError(f"calibration_batches is {self.calibration_batches}; it must be 1 to 2000.")
        limit = min(self.calibration_batches, MAX_CALIBRATION_BATCHES)
        batches = itertools.islice(self._batches("train", torch.device("cpu")), limit)
        net.to("cpu")
        with torch.no_grad():
            hits = [net(inputs).argmax(1) == labels for inputs, labels in batches]
        return float(torch.cat(hits).double().mean())

    def _example(self) -> Any:
        # Two validation samples on the CPU, with which a network can be followed.
        inputs, _ = next(self._batches("val", torch.device("cpu")))
        return inputs[:2] if isinstance(inputs, Tensor) else inputs

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


def wants_channels_last(setting: str, net: nn.Module, device: torch.device, amp: str) -> bool:
    """Whether images and weights are laid out with their channels last.

    ``auto`` does where it is faster: networks with two-dimensional convolutions on a CPU (ResNet-20 trains at batch 128
    by 1.4 faster, small networks by 1.2 to 1.3), and on a GPU in half precision, whose kernels want it.

    Raises:
        TrainingError: where the setting is not ``auto``, ``on`` or ``off``.
    """
    if setting not in _CHOICES:
        raise TrainingError(unknown_name("channels_last", setting, _CHOICES))
    if setting != "auto":
        return setting == "on"
    faster = device.type == "cpu" or amp != "none"
    return faster and any(isinstance(module, nn.Conv2d) for module in net.modules())


@contextmanager
def channels_last_weights(net: nn.Module, wanted: bool) -> Iterator[None]:
    """Keep the weights of ``net`` with their channels last for a while, in place; the parameters stay the same objects.

    Afterwards they are as they were, and contiguous where they were replaced meanwhile, so that nothing that is done
    with the network depends on it. Optimizers have to be built within: their fused kernels want their state in the
    layout of the weights.
    """
    if not wanted:
        yield
        return
    before = {weight: weight.is_contiguous() for weight in net.parameters() if weight.dim() == 4}
    for weight in before:
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for weight in net.parameters():
            if weight.dim() == 4 and before.get(weight, True):
                weight.data = weight.data.contiguous()
