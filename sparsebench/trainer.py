"""The reference trainer: what every trainer does, with small methods to override.

A trainer of one's own may inherit from ``Trainer`` or only have the same methods; ``sparsebench.check_trainer`` tells
whether it can be used, and ``sparsebench.testing.TrainerContract`` tests that it does what it should.
"""

import itertools
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer, lr_scheduler
from torch.utils.data import DataLoader, Dataset

from sparsebench.checkpoint import checkpoint_path, save_network
from sparsebench.config import MAX_CALIBRATION_BATCHES
from sparsebench.epochs import BestEpoch, Epoch
from sparsebench.errors import DataError, NoEffectWarning, PruningError, SparsebenchError, TrainingError
from sparsebench.loaders import SPLITS, Collate, build_loader, split_sizes, to_device, training_device
from sparsebench.losses import check_losses, diverged, too_few_outputs_in_words
from sparsebench.morphism import copy_weights
from sparsebench.pruning import (
    GradualPruning,
    Masks,
    capture_zeros,
    check_threshold,
    nothing_prunable,
    prunable_weights,
)
from sparsebench.pruning.setup import gradual_pruning, pruner_of_training
from sparsebench.pruning.structural import is_structural
from sparsebench.pruning.structure import changed_structure, reached_sparsity
from sparsebench.registry import unknown_name

__all__ = ["Epoch", "Trainer"]

_CLASSES_FOR_TOP5 = 10

# Reading a loss makes the CPU wait for a GPU, so there it is looked at only now and then.
_STEPS_BETWEEN_LOOKS_ON_GPU = 64


class Trainer:
    """Trains a classifier, pruning it on the way, and evaluates it.

    Small methods are meant to be overridden: ``training_step`` (the loss of a batch), ``validate``, ``train_loop``.

    The class attributes are settings; a subclass or an instance may set them, and so does the config of a run.

    Args:
        pruning: whether training prunes.
        ddtype: precision of the network and of floating-point inputs.
        datasets: map-style datasets ``[train, val, test]`` of ``(input, label)``, labels from 0.
        models_path: folder in which trained networks are saved.
        cuda: device for training; the CPU where there is no such GPU.

    Attributes:
        datasets: the three datasets.
        dtype: ``ddtype``.
        devicy: the ``torch.device`` that training runs on.
        datasizes: samples of ``train``, ``val`` and ``test``.
        dataloader: loaders of ``train``, ``val`` and ``test``; None until ``load_dataloaders``. Also ``dataloaders``.
        criterion: the loss, of logits and labels.
        history: the epochs of the last training.
        best_epoch: the number of the epoch whose network was returned.
        correct: bool (N,), for each test sample in order, after ``evaluate(net, quant_mode=False)``.
        top5: fraction of test samples whose class is among the five likeliest; None below 10 classes.

    Raises:
        DataError: where ``datasets`` are not three datasets with a length.
    """

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
    amp: str = "none"
    """Autocast during training: ``none`` or ``bf16``."""
    on_epoch: Callable[[Epoch], None] | None = None
    """Called after each epoch."""

    def __init__(
        self,
        pruning: bool = False,
        ddtype: torch.dtype = torch.float,
        datasets: Sequence[Dataset[Any]] | None = None,
        models_path: str | os.PathLike[str] | None = None,
        cuda: str = "cuda:0",
    ) -> None:
        self.datasets = datasets
        self.dtype = ddtype
        self.devicy = training_device(cuda)
        self.datasizes = split_sizes(datasets)
        self.pruning = pruning
        self.models_path = models_path
        self.dataloader: dict[str, DataLoader[Any]] | None = None
        self.criterion: Callable[[Any, Tensor], Tensor] = nn.CrossEntropyLoss()
        self.history: tuple[Epoch, ...] = ()
        self.best_epoch: int | None = None
        self.correct: Tensor | None = None
        self.top5: float | None = None

    @property
    def dataloaders(self) -> dict[str, DataLoader[Any]] | None:
        """The same as ``dataloader``."""
        return self.dataloader

    @dataloaders.setter
    def dataloaders(self, loaders: dict[str, DataLoader[Any]] | None) -> None:
        self.dataloader = loaders

    def load_dataloaders(self, batch_size: int, collate_fn: Collate | None) -> None:
        """Build ``dataloader["train" | "val" | "test"]``.

        Only the training split is shuffled and drops its last, smaller batch; every validation and test sample counts.
        Tensors in memory need no worker processes.

        Args:
            batch_size: samples a batch.
            collate_fn: makes ``(inputs, labels)`` of a list of samples; None stacks them.

        Raises:
            DataError: where a split is empty, or a batch is larger than the training split.
        """
        pin = self.devicy.type == "cuda"
        self.dataloader = {
            split: build_loader(dataset, split, batch_size, collate_fn, pin)
            for split, dataset in zip(SPLITS, self.datasets or (), strict=True)
        }

    def train(
        self,
        net: nn.Module,
        parameters: Mapping[str, float],
        name: str,
        epochs: int,
        reload: bool,
        old_net: nn.Module | Mapping[str, Any] | None,
    ) -> nn.Module:
        """Train a network with Adam.

        Args:
            net: the network; it is trained in place.
            parameters: ``learning_rate``; ``learning_step``, in thousands of training steps, after which the rate is
                multiplied by ``learning_gamma``; ``prune_threshold``, the fraction of prunable weights that is zero at
                the end (used only where ``pruning`` is on).
            name: the network is saved as ``models_path/name.pth``.
            epochs: passes over the training split, at least 1.
            reload: whether training starts from the weights of ``old_net``.
            old_net: a network or a state dict; shapes may differ, see ``copy_weights``.

        Returns:
            The network of the best epoch; see ``train_loop``.

        Raises:
            SparsebenchError: with what is wrong and its remedy.
        """
        missing = [key for key in ("learning_rate", "learning_step", "learning_gamma") if key not in parameters]
        if self.pruning and "prune_threshold" not in parameters:
            missing.append("prune_threshold")
        if missing:
            raise TrainingError(f"parameters lacks {', '.join(missing)}; give a number for each.")
        if reload:
            if old_net is None:
                raise TrainingError("reload is on but old_net is None; give a network or its state dict as old_net.")
            net = copy_weights(old_net, net)
        net.to(dtype=self.dtype, device=self.devicy)
        trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
        if not trainable:
            raise TrainingError(f"{type(net).__name__} has no parameter to train; set requires_grad on some.")
        # One kernel in place of several for each parameter: the update of a small network takes half the time.
        optimizer = Adam(trainable, lr=parameters["learning_rate"], fused=True)
        scheduler = lr_scheduler.StepLR(
            optimizer,
            step_size=max(1, round(parameters["learning_step"] * 1000)),
            gamma=parameters["learning_gamma"],
        )
        # By position, because a subclass may name the parameters of its loop as it likes.
        return self.train_loop(net, optimizer, scheduler, name, epochs, parameters.get("prune_threshold") or 0.0)

    def train_loop(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        scheduler: lr_scheduler.LRScheduler | None,
        name: str,
        epochs: int,
        threshold: float,
    ) -> nn.Module:
        """Train for some epochs, prune after the training steps, and keep the best epoch.

        Sparsity follows the schedule over the first ``1 - hold`` of all training steps and stays at the threshold
        from there on. The best epoch has the highest validation accuracy among those that ended at full sparsity; of
        equals, the one with the lower validation loss, then the later one. The test split is not read.

        A pruner that removes channels does so in a few moments; the optimizer then goes on with the smaller parameters,
        and ``name.structure.json`` is saved too: ``apply_structure`` fits a fresh network for the weights.

        Args:
            model: the network, on ``devicy``; it is trained in place.
            optimizer: steps the parameters of ``model``.
            scheduler: stepped after every training step; None for a constant rate.
            name: the network is saved as ``models_path/name.pth``.
            epochs: passes over the training split, at least 1.
            threshold: fraction of the prunable weights that is zero, or removed, at the end.

        Returns:
            ``model`` with the weights of the best epoch; ``round(threshold × prunable)`` of them are zero, unless
            channels were removed.

        Raises:
            TrainingError: where the loss is NaN or infinite.
            SparsebenchError: where a setting or the name is not allowed.
        """
        if epochs < 1:
            raise TrainingError(f"epochs is {epochs}; train for at least 1.")
        path = checkpoint_path(self.models_path, name)
        steps = len(self._loader("train"))
        gradual = self._gradual_pruning(model, epochs * steps, threshold)
        masks = capture_zeros(model, keep=self._kept) if self.keep_zeros else None
        self.history = ()
        best = BestEpoch()
        for epoch in range(1, epochs + 1):
            train_loss = self._train_epoch(model, optimizer, scheduler, gradual, masks, epoch)
            val_loss, val_accuracy = self.validate(model)
            if math.isnan(val_loss):
                raise diverged("validation loss is nan", f"epoch {epoch}", optimizer)
            reached = reached_sparsity(model, self.include_classifier, self._kept)
            done = Epoch(epoch, train_loss, val_loss, val_accuracy, reached)
            self.history += (done,)
            if gradual is None or gradual.complete(epoch * steps):
                best.offer(done, model, last=epoch == epochs)
            self.best_epoch = best.number
            if self.on_epoch is not None:
                self.on_epoch(done)
        best.restore(model)
        structure = changed_structure(model)
        save_network(model, path, structure.to_json() if structure else "")
        return model

    def training_step(self, model: nn.Module, inputs: Any, labels: Tensor) -> Tensor:
        """Return the loss of a training batch, a scalar to differentiate.

        Args:
            model: the network, in training mode.
            inputs: what the loader gives, on ``devicy``: (N, …), or a packed sequence.
            labels: (N,).
        """
        return self.criterion(model(inputs), labels)

    def validate(self, model: nn.Module) -> tuple[float, float]:
        """Return the mean loss and the accuracy, in [0, 1], over the whole validation split."""
        model.eval()
        losses, hits = [], []
        # Not inference_mode: what a network caches in its forward pass would be of no use to the next training step.
        with torch.no_grad():
            for inputs, labels in self._batches("val", self.devicy):
                outputs = model(inputs)
                losses.append(self.criterion(outputs, labels) * len(labels))
                hits.append(outputs.argmax(1) == labels)
        correct = torch.cat(hits)
        return float(torch.stack(losses).sum()) / len(correct), float(correct.double().mean())

    def evaluate(self, net: nn.Module, quant_mode: bool) -> tuple[float, nn.Module]:
        """Return the accuracy of a network on the test split, or run training batches through it for calibration.

        Args:
            net: the network.
            quant_mode: True reads training batches on the CPU, for the observers of int8 quantization, and stops after
                ``calibration_batches``, at most 2000. False reads every test sample, on the device that ``net`` is on.

        Returns:
            The accuracy, a fraction in [0, 1], of the samples that were read, and ``net``.

        Raises:
            SparsebenchError: where there are no loaders yet, or ``calibration_batches`` is below 1.
        """
        with suppress(NotImplementedError):  # An exported graph is in evaluation mode for good, and says so.
            net.eval()
        if quant_mode:
            if self.calibration_batches < 1:
                raise SparsebenchError(f"calibration_batches is {self.calibration_batches}; it must be 1 to 2000.")
            limit = min(self.calibration_batches, MAX_CALIBRATION_BATCHES)
            cpu = torch.device("cpu")
            net.to(cpu)
            with torch.no_grad():
                hits = [
                    net(inputs).argmax(1) == labels
                    for inputs, labels in itertools.islice(self._batches("train", cpu), limit)
                ]
            return float(torch.cat(hits).double().mean()), net
        device = next((t.device for t in (*net.parameters(), *net.buffers())), torch.device("cpu"))
        hits, hits5 = [], []
        with torch.inference_mode():
            for inputs, labels in self._batches("test", device):
                outputs = net(inputs)
                hits.append(outputs.argmax(1) == labels)
                if outputs.shape[1] >= _CLASSES_FOR_TOP5:
                    hits5.append((outputs.topk(5).indices == labels.unsqueeze(1)).any(1))
        # Cloned outside of inference mode, so that the tensor may be used like any other.
        self.correct = torch.cat(hits).cpu().clone()
        self.top5 = float(torch.cat(hits5).double().mean()) if hits5 else None
        return float(self.correct.double().mean()), net

    def _train_epoch(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        scheduler: lr_scheduler.LRScheduler | None,
        gradual: GradualPruning | None,
        masks: Masks | None,
        epoch: int,
    ) -> float:
        """Train and prune over the training split once; return the mean loss of its batches."""
        model.train()
        steps = len(self._loader("train"))
        before = (epoch - 1) * steps
        losses = torch.zeros(steps, device=self.devicy)
        every = 1 if self.devicy.type == "cpu" else _STEPS_BETWEEN_LOOKS_ON_GPU
        for step, (inputs, labels) in enumerate(self._batches("train", self.devicy), start=1):
            optimizer.zero_grad(set_to_none=True)
            with self._autocast(), too_few_outputs_in_words(model):
                loss = self.training_step(model, inputs, labels)
            losses[step - 1] = loss.detach()
            if step % every == 0 or step == steps:
                self._check_losses(losses[:step], epoch, optimizer)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            if masks is not None:
                masks.apply(model)
            if gradual is not None:
                try:
                    gradual.after_step(model, before + step, step == steps, optimizer)
                except PruningError:
                    # On a GPU, weights that are no numbers may be met before the loss that made them is looked at.
                    self._check_losses(losses[:step], epoch, optimizer)
                    raise
        return float(losses.mean())

    def _gradual_pruning(self, model: nn.Module, steps: int, threshold: float) -> GradualPruning | None:
        """Return how training of ``steps`` steps prunes, or None where it does not; check the settings in any case."""
        if self.amp not in ("none", "bf16"):
            raise SparsebenchError(unknown_name("amp", self.amp, ("none", "bf16")))
        pruner = pruner_of_training(
            self.pruner, self.pruner_options, self.per_layer, self.include_classifier, threshold
        )
        gradual = gradual_pruning(pruner, self.schedule, threshold, steps, self.hold, self.prune_every)
        if not self.pruning or threshold == 0 or self.keep_zeros:
            return None
        check_threshold(threshold)
        if not prunable_weights(model, self.include_classifier, self._kept):
            # Once here, not after every step.
            warnings.warn(nothing_prunable(model), NoEffectWarning, stacklevel=3)
            return None
        if is_structural(pruner):
            pruner.prepare(model, self._example(), threshold)
        return gradual

    def _example(self) -> Any:
        """Return inputs of two validation samples on the CPU, with which a network can be followed."""
        inputs, _ = next(self._batches("val", torch.device("cpu")))
        return inputs[:2] if isinstance(inputs, Tensor) else inputs

    @property
    def _kept(self) -> tuple[str, ...]:
        """Patterns of the layers that stay dense by their own threshold."""
        return tuple(pattern for pattern, threshold in self.per_layer.items() if threshold == 0)

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
            yield to_device(inputs, self.dtype, device), labels.to(device, kind, non_blocking=True)

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.devicy.type, torch.bfloat16) if self.amp == "bf16" else nullcontext()

    def _check_losses(self, losses: Tensor, epoch: int, optimizer: Optimizer) -> None:
        check_losses(losses, epoch, optimizer)
