"""The reference trainer: what every trainer does, with small methods to override.

A trainer of one's own may inherit from ``Trainer`` or only have the same methods; ``sparsebench.check_trainer`` tells
whether it can be used, and ``sparsebench.testing.TrainerContract`` tests that it does what it should.
"""

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.utils.data import DataLoader, Dataset

from sparsebench.errors import TrainingError
from sparsebench.metrics import Measured
from sparsebench.models.as_built import is_lazy, materialise
from sparsebench.processes import keeping_freed
from sparsebench.pruning.structure import reached_sparsity
from sparsebench.tensors import arguments_of, cloned
from sparsebench.training.accuracy import Hits
from sparsebench.training.checkpoints import Progress, checkpoint_path, save_network
from sparsebench.training.loaders import Collate, build_loaders, split_sizes, training_device
from sparsebench.training.losses import distillation, smoothed
from sparsebench.training.optimizers import RatePlan, build_optimizer, build_rates
from sparsebench.training.parts import TrainerParts
from sparsebench.training.steps import BestEpoch, Epoch, Precision, Steps, diverged
from sparsebench.training.weights import copy_weights

__all__ = ["Epoch", "Trainer"]


class Trainer(TrainerParts):
    """Trains a classifier, pruning it on the way, and evaluates it.

    Small methods are meant to be overridden: ``training_step`` (the loss of a batch), ``build_optimizer``,
    ``build_scheduler``, ``validate``, ``train_loop``.

    Its class attributes, those of ``TrainingSettings``, are settings; a subclass or an instance may set them, and so
    does the config of a run.

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
        ignored: test samples that ``correct`` leaves out, for their label is the ``ignore_index`` of the loss.
        measured: what ``metric`` found on the test samples; None of accuracy.
        values: float (N,), the metric of each test sample, where it is their mean and no accuracy.

    Raises:
        DataError: where ``datasets`` are not three datasets with a length.
    """

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
        self.ignored = 0
        self.measured: Measured | None = None
        self.values: Any = None

    def load_dataloaders(self, batch_size: int, collate_fn: Collate | None) -> None:
        """Build ``dataloader["train" | "val" | "test"]``.

        Only the training split is shuffled and drops its last, smaller batch; every validation and test sample counts.
        Tensors in memory need no worker processes; they are moved to the GPU that trains, where they fit.

        Args:
            batch_size: samples a batch.
            collate_fn: makes ``(inputs, labels)`` of a list of samples; None stacks them.

        Raises:
            DataError: where a split is empty, or a batch is larger than the training split.
        """
        self.dataloader = build_loaders(self.datasets or (), self.devicy, batch_size, collate_fn)

    def train(
        self,
        net: nn.Module,
        parameters: Mapping[str, float],
        name: str,
        epochs: int,
        reload: bool,
        old_net: nn.Module | Mapping[str, Any] | None,
    ) -> nn.Module:
        """Train a network; by default with Adam, at a rate that decays in steps.

        Args:
            net: the network; it is trained in place.
            parameters: ``learning_rate``; ``learning_step``, in thousands of training steps, after which the rate is
                multiplied by ``learning_gamma``; ``prune_threshold``, the fraction of prunable weights that is zero at
                the end (used only where ``pruning`` is on).
            name: the network is saved as ``models_path/name.pth``.
            epochs: passes over the training split, or over ``steps_per_epoch`` batches of it, at least 1.
            reload: whether training starts from the weights of ``old_net``.
            old_net: a network or a state dict; shapes may differ, see ``copy_weights``.

        Returns:
            The network of the best epoch; see ``train_loop``.

        Raises:
            SparsebenchError: with what is wrong and its remedy.
        """
        needed = ["learning_rate", "learning_step", "learning_gamma"] + ["prune_threshold"] * bool(self.pruning)
        missing = [key for key in needed if key not in parameters]
        if missing:
            raise TrainingError(f"parameters lacks {', '.join(missing)}; give a number for each.")
        if is_lazy(net):
            materialise(net, arguments_of(net, self._example()))
        if reload:
            if old_net is None:
                raise TrainingError("reload is on but old_net is None; give a network or its state dict as old_net.")
            net = copy_weights(old_net, net)
        net.to(dtype=self.dtype, device=self.devicy)
        trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
        if not trainable:
            raise TrainingError(f"{type(net).__name__} has no parameter to train; set requires_grad on some.")
        with self._laid_out(net, self._is_laid_out(net)), keeping_freed():
            optimizer = self.build_optimizer(trainable, parameters["learning_rate"])
            scheduler = self.build_scheduler(optimizer, parameters, epochs * self._steps)
            # By position, because a subclass may name the parameters of its loop as it likes.
            return self.train_loop(net, optimizer, scheduler, name, epochs, parameters.get("prune_threshold") or 0.0)

    def build_optimizer(self, parameters: Sequence[nn.Parameter], learning_rate: float) -> Optimizer:
        """Return the optimizer of a training, as ``optimizer_name`` and ``optimizer_options`` ask for it."""
        return build_optimizer(self.optimizer_name, self.optimizer_options, parameters, learning_rate)

    def build_scheduler(
        self, optimizer: Optimizer, parameters: Mapping[str, float], steps: int
    ) -> lr_scheduler.LRScheduler | None:
        """Return what changes the learning rate after each of ``steps`` training steps in all; None for a constant one.

        ``parameters`` are those of ``train``.
        """
        plan = RatePlan(
            steps=max(1, steps),
            step_size=max(1, round(parameters["learning_step"] * 1000)),
            gamma=parameters["learning_gamma"],
        )
        return build_rates(
            self.learning_schedule, self.learning_schedule_options, self.learning_warmup, optimizer, plan
        )

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

        With ``keep_zeros`` nothing is pruned: the zeros that ``model`` starts with stay, and there come no more.

        A pruner that removes channels does so in a few moments; the optimizer then goes on with the smaller parameters,
        and ``name.structure.json`` is saved too: ``apply_structure`` fits a fresh network for the weights.

        Args:
            model: the network, on ``devicy``; it is trained in place.
            optimizer: steps the parameters of ``model``.
            scheduler: stepped after every training step; None for a constant rate.
            name: as of ``train``.
            epochs: as of ``train``.
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
        steps = self._steps
        precision = Precision(self.amp, self.devicy, self.clip_norm)
        self._training_criterion = smoothed(self.criterion, self.label_smoothing)
        self._distillation = distillation(self.distill, self.teacher, self.devicy, self.dtype)
        best = BestEpoch(lower_is_better=self.metric is not None and not self.metric.scale.higher_is_better)
        progress = Progress(model, optimizer, scheduler, precision.scaler, best, self.devicy)
        checkpoints = self._checkpoints(progress, path.with_suffix(".resume.pt"), epochs, threshold)
        sparsity = self._sparsity(model, epochs * steps, threshold)
        training = Steps(model, optimizer, scheduler, precision, sparsity, self.training_step, self.compile)
        self.history = checkpoints.resume(progress) if checkpoints else ()
        self.best_epoch = best.number
        for epoch in range(len(self.history) + 1, epochs + 1):
            batches = itertools.islice(self._batches("train", self.devicy), steps)
            train_loss = training.epoch(batches, epoch, steps, self.devicy)
            val_loss, value = self.validate(model)
            if math.isnan(val_loss):
                raise diverged("validation loss is nan", f"epoch {epoch}", optimizer)
            zeros = reached_sparsity(model, self.include_classifier, self._kept)
            judged = (value, zeros) if self.metric is None else (None, zeros, value)
            done = Epoch(epoch, train_loss, val_loss, *judged)
            self.history += (done,)
            if sparsity is None or sparsity.complete(epoch * steps):
                best.offer(done, model, last=epoch == epochs)
            self.best_epoch = best.number
            if checkpoints:
                checkpoints.write_if_due(progress, self.history)
            if self.on_epoch is not None:
                self.on_epoch(done)
        best.restore(model)
        save_network(model, path)
        if checkpoints and not self.keep_checkpoint:
            checkpoints.path.unlink(missing_ok=True)
        return model

    def training_step(self, model: nn.Module, inputs: Any, labels: Tensor) -> Tensor:
        """Return the loss of a training batch, a scalar to differentiate.

        Args:
            model: the network, in training mode.
            inputs: what the loader gives, on ``devicy``: (N, …), a packed sequence, or tuples and mappings of these.
            labels: (N,), or one-hot (N, C).
        """
        # The network may change its inputs in place, and a teacher needs them as they were.
        own = cloned(inputs) if self._distillation else inputs
        outputs = model(*arguments_of(model, own))
        self._check(model, outputs, labels, "train")
        loss = self._judge.loss(self._training_criterion or self.criterion, model, outputs, labels, self.metric)
        return self._distillation(loss, outputs, inputs) if self._distillation else loss

    def validate(self, model: nn.Module) -> tuple[float, float]:
        """Return the mean loss and the accuracy, in [0, 1], or the metric, over the whole validation split."""
        return self._validated(model, self.devicy)

    def evaluate(self, net: nn.Module, quant_mode: bool) -> tuple[float, nn.Module]:
        """Return the accuracy of a network on the test split, or run training batches through it for calibration.

        Where ``metric`` is set, it is returned in place of accuracy.

        Args:
            net: the network.
            quant_mode: True reads training batches on the CPU, for the observers of int8 quantization, and stops after
                ``calibration_batches``, at most 2000. False reads every test sample, on the device that ``net`` is on.

        Returns:
            The accuracy, a fraction in [0, 1], or the metric, of the samples that were read, and ``net``.

        Raises:
            SparsebenchError: where there are no loaders yet, or ``calibration_batches`` is below 1.
        """
        with suppress(NotImplementedError):  # An exported graph is in evaluation mode for good, and says so.
            net.eval()
        if quant_mode:
            return self._calibrated(net), net
        device = next((t.device for t in (*net.parameters(), *net.buffers())), torch.device("cpu"))
        judged = self._judged(net, "test", device)
        self.correct, self.top5, self.measured, self.values = None, None, None, None
        if self.metric is not None:
            self.measured = self.metric.measured(judged)
            self.values = self.measured.values
            return self.measured.value, net
        hits = Hits.joined(judged)
        self.correct, self.ignored = hits.top1, int((~hits.counted).sum())
        self.top5 = None if hits.top5 is None else float(hits.top5.double().mean())
        return float(self.correct.double().mean()), net
