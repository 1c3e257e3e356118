"""How the reference trainer reads its splits and judges a network by them."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sparsebench.config import MAX_CALIBRATION_BATCHES
from sparsebench.errors import DataError, SparsebenchError
from sparsebench.tensors import arguments_of, cloned, moved, samples_in
from sparsebench.training.accuracy import Hits, Judge, ignored_index
from sparsebench.training.batches import Span, parts_of_batch, span_of, targets_of_batch
from sparsebench.training.layout import channels_last, channels_last_weights, wants_channels_last
from sparsebench.training.loaders import gives_copies
from sparsebench.training.settings import TrainingSettings

Found = TypeVar("Found")


class EvaluationParts(TrainingSettings):
    """Batches in one form, checked against what a network makes of them, and what a split tells of it."""

    dtype: torch.dtype
    dataloader: dict[str, DataLoader[Any]] | None
    ignored: int
    _channels_last: bool = False
    _span: Span | None = None

    def _loader(self, split: str) -> DataLoader[Any]:
        if not self.dataloader:
            raise DataError("There are no data loaders yet; call load_dataloaders(batch_size, collate_fn) first.")
        return self.dataloader[split]

    def _batches(self, split: str, device: torch.device) -> Iterator[tuple[Any, Any]]:
        """Yield the inputs, floating ones in ``dtype``, and the labels of each batch of a split, on a device.

        Whoever gets them may change them.
        """
        loader, ignored = self._loader(split), ignored_index(self.criterion)
        of_classes = self.metric is None or self.metric.of_classes
        for number, batch in enumerate(loader):
            inputs, given = parts_of_batch(batch, split)
            labels = targets_of_batch(given, split, self.dtype, self.metric)
            # A GPU, which one would have to wait for, holds the same labels in each epoch.
            known = not of_classes or (labels.is_cuda and self._read_whole[split])
            self._span = None if known else span_of(labels, ignored)
            inputs = moved(inputs, device, self.dtype)
            if not gives_copies(loader):
                inputs = cloned(inputs)
            if self._channels_last:
                inputs = channels_last(inputs)
            is_tensor = isinstance(labels, Tensor)
            yield inputs, labels.to(device, non_blocking=True) if is_tensor else moved(labels, device)
            self._read_whole[split] |= number + 1 == len(loader)

    def _answers(self, net: nn.Module, split: str, device: torch.device) -> Iterator[tuple[Any, Any]]:
        """Yield what a network returns for each batch of a split, and the labels, checked against each other."""
        for inputs, labels in self._batches(split, device):
            outputs = net(*arguments_of(net, inputs))
            self._check(net, outputs, labels, split)
            yield outputs, labels

    def _check(self, net: nn.Module, outputs: Any, labels: Any, split: str) -> None:
        self._judge.check(self.criterion, net, outputs, labels, self._span, split, self.metric)

    @cached_property
    def _judge(self) -> Judge:
        return Judge()

    @cached_property
    def _read_whole(self) -> defaultdict[str, bool]:
        # Whether a whole pass over a split was made.
        return defaultdict(bool)

    def _judged(self, net: nn.Module, split: str, device: torch.device) -> list[Any]:
        """Return what is kept of each batch of a split: which samples are right, or what another metric keeps."""
        return self._over(net, split, device, lambda outputs, labels: self._kept_of(net, outputs, labels))

    def _kept_of(self, net: nn.Module, outputs: Any, labels: Any) -> Any:
        if self.metric is None:
            return self._judge.hits(self.criterion, net, outputs, labels)
        if self.metric.takes_structures:
            return self.metric.kept(outputs, labels)
        scores, ignored = self._judge.scores(net, outputs), ignored_index(self.criterion)
        if self.metric.of_classes and ignored is not None and labels.dim() == 1:
            counted = labels != ignored
            self.ignored += int((~counted).sum())
            scores, labels = scores[counted], labels[counted]
        return self.metric.kept(scores, labels)

    def _validated(self, model: nn.Module, device: torch.device) -> tuple[float, float]:
        """Return the mean loss and the accuracy, or the metric, over the validation split."""
        model.eval()
        losses, judged, counts = [], [], []
        # Not inference_mode: what a network caches in its forward pass would be of no use to the next training step.
        with torch.no_grad():
            for outputs, labels in self._answers(model, "val", device):
                judged.append(self._kept_of(model, outputs, labels))
                loss = self._judge.loss(self.criterion, model, outputs, labels, self.metric)
                counts.append(_counted(judged[-1], labels, loss))
                losses.append(torch.where(counts[-1] > 0, loss * counts[-1], torch.zeros_like(loss)))
        return float(torch.stack(losses).sum()) / int(torch.stack(counts).sum()), self._value(judged)

    def _value(self, judged: list[Any]) -> float:
        """Return accuracy, or the metric, of what is kept of batches."""
        if self.metric is not None:
            return self.metric.value(judged)
        return float(Hits.joined(judged).top1.double().mean())

    def _over(
        self, net: nn.Module, split: str, device: torch.device, judge: Callable[[Any, Any], Found]
    ) -> list[Found]:
        """Return what a judge makes of outputs and labels of each batch of a split."""
        # Networks of other runtimes have no convolutions of torch, and no layout to choose.
        faster = self.channels_last != "off" and wants_channels_last("auto", net, device, "none")
        for laid_out in (True, False) if faster else (False,):
            self.ignored = 0
            try:
                with self._laid_out(net, laid_out), torch.inference_mode():
                    return [judge(outputs, labels) for outputs, labels in self._answers(net, split, device)]
            except RuntimeError:
                # Some networks take one layout for granted: they view the result of a convolution as a vector.
                if not laid_out:
                    raise
        return []

    def _calibrated(self, net: nn.Module) -> float:
        if self.calibration_batches < 1:
            raise SparsebenchError(f"calibration_batches is {self.calibration_batches}; it must be 1 to 2000.")
        limit = min(self.calibration_batches, MAX_CALIBRATION_BATCHES)
        net.to("cpu")
        with torch.no_grad():
            answers = itertools.islice(self._answers(net, "train", torch.device("cpu")), limit)
            judged = [self._kept_of(net, outputs, labels) for outputs, labels in answers]
        try:
            return self._value(judged)
        except DataError:
            # A few batches may have no value, as where they lack a class; nothing depends on it.
            if self.metric is None:
                raise
            return float("nan")

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


def _counted(kept: Any, labels: Any, loss: Tensor) -> Tensor:
    """Return how many samples of a batch count, where its loss is."""
    if isinstance(kept, Hits):
        return kept.counted.sum()
    return loss.new_tensor(len(kept) if isinstance(kept, Tensor) else samples_in(labels) or 0, dtype=torch.int64)
