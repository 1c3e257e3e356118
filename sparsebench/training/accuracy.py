"""What is made of a network's answers: the scores among its outputs, their loss, and which samples are right.

Nothing is taken for granted: a metric says which outputs and targets it takes, and every batch is checked against that
before its loss is computed, for on a GPU a label out of range ends the process.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from sparsebench import metrics as judged
from sparsebench.errors import DataError, ModelError, OutputsWarning
from sparsebench.tensors import scores_in, tensors_in
from sparsebench.training.batches import Span

AUXILIARY_WEIGHT = 0.3
"""Weight of the loss of each auxiliary output in training (Szegedy et al., Going Deeper with Convolutions, 2015, 5)."""

Criterion = Callable[[Any, Tensor], Tensor]

_OF_EACH = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
"""Losses that compare each output with a target of its own."""

_CLASSES_FOR_TOP5 = 10


@dataclass(frozen=True)
class Metric:
    """A share of samples that are right.

    Attributes:
        name: what it is called.
        outputs: the shape of the outputs that it takes.
        targets: the targets that it takes.
        classes: how many classes there are, of outputs of such a shape.
        hits: of outputs and targets, whether each sample is right: bool (N,).
    """

    name: str
    outputs: str
    targets: str
    classes: Callable[[Tensor], int]
    hits: Callable[[Tensor, Tensor], Tensor]


ACCURACY = Metric(
    name="accuracy",
    outputs="(N, C) for C classes",
    targets="class indices (N,), or one-hot (N, C)",
    classes=lambda scores: scores.shape[1],
    hits=lambda scores, labels: scores.argmax(1) == labels,
)
BINARY_ACCURACY = Metric(
    name="accuracy of two classes by one logit",
    outputs="(N, 1) or (N,), the logit of class 1",
    targets="0 and 1, (N,) or (N, 1)",
    classes=lambda _: 2,
    hits=lambda scores, labels: (scores.flatten() > 0) == (labels.flatten() > 0),
)


@dataclass(frozen=True)
class Hits:
    """Which samples are right: bool (N,).

    Attributes:
        top1: whether the class is right.
        top5: whether it is among the five likeliest; None below 10 classes.
        counted: whether the sample counts: its label is not the loss's ignored index.
    """

    top1: Tensor
    top5: Tensor | None
    counted: Tensor

    @classmethod
    def joined(cls, batches: list["Hits"]) -> "Hits":
        """Return those of several batches as one, on the CPU, without the samples that do not count."""
        # Copied outside of inference mode, so that the tensors may be used like any other.
        counted = torch.cat([one.counted for one in batches]).cpu()
        top1 = torch.cat([one.top1 for one in batches]).cpu()[counted]
        fives = [one.top5 for one in batches if one.top5 is not None]
        return cls(top1, torch.cat(fives).cpu()[counted] if fives else None, counted)


class Judge:
    """Judges the answers of networks by the loss of one trainer; tells once what it makes of odd ones."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._binary: dict[int, bool] = {}

    def scores(self, net: nn.Module, outputs: Any) -> Tensor:
        """Return the scores of classes in what a network returned.

        They are the tensor itself, what is called ``logits`` in a mapping or a named tuple, or the first tensor.

        Raises:
            ModelError: where there is no tensor.

        Warns:
            OutputsWarning: once, where a network in evaluation mode returns several tensors, or an object.
        """
        if isinstance(outputs, Tensor):
            return outputs
        found, name = scores_in(outputs), _name(net)
        first, *others = [*tensors_in(outputs), None]
        # A mapping with nothing but logits, as networks of transformers return, leaves no choice.
        if not net.training and name not in self._told and not (found is first and others == [None]):
            self._told.add(name)
            which = "the first tensor in it is" if found is first else "its logits are"
            warnings.warn(
                f"{name} returns a {type(outputs).__name__} in evaluation; {which} taken for the scores of classes, "
                "and nothing else of it is looked at.",
                OutputsWarning,
                stacklevel=3,
            )
        return found

    def loss(
        self, criterion: Criterion, net: nn.Module, outputs: Any, labels: Any, metric: judged.Metric | None = None
    ) -> Tensor:
        """Return the loss of outputs, a scalar.

        A loss of torch is given the scores, and in training those of auxiliary outputs, which count by
        ``AUXILIARY_WEIGHT`` each; a metric other than accuracy brings them into the form that it takes. A criterion of
        the user's own is given the outputs as they are.
        """
        if not isinstance(criterion, _Loss):
            return criterion(outputs, labels)
        scores = self.scores(net, outputs)

        def of(one: Tensor) -> Tensor:
            aligned, wanted = (one, labels) if metric is None else metric.for_loss(one, labels)
            if isinstance(criterion, nn.BCEWithLogitsLoss) and _is_one_logit(aligned):
                aligned, wanted = aligned.flatten(), wanted.flatten().to(aligned.dtype)
            elif isinstance(criterion, _OF_EACH) and aligned.numel() == wanted.numel():
                # Torch would compare (N, 1) with (N,) each with each.
                wanted = wanted.reshape(aligned.shape).to(aligned.dtype)
            found: Tensor = criterion(aligned, wanted)
            return found

        loss = of(scores)
        if net.training and not isinstance(outputs, Tensor):
            others = [one for one in tensors_in(outputs) if one is not scores and one.shape == scores.shape]
            loss = loss + AUXILIARY_WEIGHT * sum(of(one) for one in others)
        return loss

    def hits(self, criterion: Criterion, net: nn.Module, outputs: Any, labels: Tensor) -> "Hits":
        """Return which samples of a batch are right."""
        scores = self.scores(net, outputs)
        metric = self._metric(criterion, net, scores, labels)
        if metric is ACCURACY and labels.dim() == 2:
            labels = labels.argmax(1)
        has_top5 = metric is ACCURACY and scores.shape[1] >= _CLASSES_FOR_TOP5
        ignored = ignored_index(criterion)
        return Hits(
            top1=metric.hits(scores, labels),
            top5=(scores.topk(5).indices == labels.unsqueeze(1)).any(1) if has_top5 else None,
            counted=torch.ones_like(labels, dtype=torch.bool).flatten() if ignored is None else labels != ignored,
        )

    def check(
        self,
        criterion: Criterion,
        net: nn.Module,
        outputs: Any,
        labels: Any,
        span: Span | None,
        split: str,
        metric: judged.Metric | None = None,
    ) -> None:
        """Check outputs and labels of a batch against each other and against the metric.

        Args:
            criterion: the loss.
            net: the network.
            outputs: what it returned.
            labels: of the batch.
            span: the classes that occur in ``labels``; None where they are not class indices, or known to be right.
            split: where the batch is from, for the error.
            metric: what is asked whether it takes them; None for accuracy.

        Raises:
            ModelError: where the outputs are not what the metric takes.
            DataError: where the labels are not, or lie beyond the outputs.
        """
        if metric is not None:
            given = outputs if metric.takes_structures else self.scores(net, outputs)
            if not metric.of_classes:
                if problem := metric.problem(given, labels):
                    raise DataError(f"Of a batch of the {split} split and {_name(net)}: {problem}")
                return
        scores = self.scores(net, outputs)
        classes = self._metric(criterion, net, scores, labels).classes(scores)
        if metric is not None and (problem := metric.problem(scores, labels)):
            raise DataError(f"Of a batch of the {split} split and {_name(net)}: {problem}")
        if span is not None and not 0 <= span[0] <= span[1] < classes:
            raise _out_of_range(_name(net), span, classes, split)

    def _metric(self, criterion: Criterion, net: nn.Module, scores: Tensor, labels: Tensor) -> Metric:
        metric = ACCURACY if scores.dim() == 2 and scores.shape[1] > 1 else BINARY_ACCURACY
        if metric is BINARY_ACCURACY:
            self._require_binary(criterion, net, scores, labels)
        form = (len(scores), scores.shape[1]) if metric is ACCURACY else (len(scores), 1)
        if labels.shape == (len(scores),) and not (metric is ACCURACY and labels.is_floating_point()):
            return metric
        if labels.shape != form or not labels.is_floating_point():
            raise DataError(
                f"The labels of a batch have the shape {tuple(labels.shape)} and the type {_kind(labels)}, and the "
                f"outputs of {_name(net)} the shape {tuple(scores.shape)}; {metric.name} takes {metric.targets}. "
                "Give one label for each sample, the index of its class."
            )
        if metric is ACCURACY and not _is_one_hot(labels):
            raise DataError(
                f"The labels of a batch, {tuple(labels.shape)}, are not one-hot: they are multi-label or soft targets. "
                "Give one label for each sample, the index of its class, or choose a metric of several labels, such as "
                "metric.name = 'multilabel_f1'."
            )
        return metric

    def _require_binary(self, criterion: Criterion, net: nn.Module, scores: Tensor, labels: Tensor) -> None:
        name = _name(net)
        if not _is_one_logit(scores):
            raise ModelError(
                f"{name} gives outputs of shape {tuple(scores.shape)}; it must give logits (N, classes) for each "
                "sample."
            )
        if isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss | nn.MultiMarginLoss):
            raise ModelError(
                f"{name} has one output, and {type(criterion).__name__} takes one for each class. Build it with 2 "
                "outputs, or set train.criterion = 'bce', in a trainer nn.BCEWithLogitsLoss(): then the output is the "
                "logit of class 1, and a sample is right where its sign is."
            )
        if id(criterion) not in self._binary:
            self._binary[id(criterion)] = _is_binary(criterion, scores, labels)
        if not self._binary[id(criterion)]:
            raise ModelError(
                f"{name} has one output, but its criterion is no loss of a logit for two classes: it does not draw "
                "the output below 0 for class 0 and above 0 for class 1. Use nn.BCEWithLogitsLoss, without a sigmoid "
                "in the network, or evaluate in a trainer of your own."
            )


def ignored_index(criterion: object) -> int | None:
    """Return the label whose samples a loss leaves out; None where it has none."""
    index = getattr(criterion, "ignore_index", None)
    return index if isinstance(index, int) else None


def _is_one_logit(scores: Tensor) -> bool:
    return scores.dim() == 1 or (scores.dim() == 2 and scores.shape[1] == 1)


def _is_binary(criterion: Criterion, scores: Tensor, labels: Tensor) -> bool:
    """Whether a loss prefers a high output for class 1 and a low one for class 0, by as much."""

    def loss(output: float, label: int) -> float:
        one = torch.full_like(scores[:1].detach(), output)
        return float(criterion(one, torch.full_like(labels[:1], label)))

    if isinstance(criterion, _Loss):
        return isinstance(criterion, nn.BCEWithLogitsLoss)
    try:
        return loss(4.0, 1) < loss(-4.0, 1) and loss(-4.0, 0) < loss(4.0, 0)
    except Exception:  # It may need more than a sample; then it says itself what is wrong.
        return True


def _is_one_hot(labels: Tensor) -> bool:
    return bool((((labels == 0) | (labels == 1)).all(1) & (labels.sum(1) == 1)).all())


def _out_of_range(name: str, span: Span, classes: int, split: str) -> DataError:
    low, high = span
    found = f"Labels of the {split} split are from {low} to {high}, and {name} has outputs for {classes} classes"
    must = f"they must be from 0 to {classes - 1}"
    if low == 1 and high == classes:
        return DataError(f"{found}; {must}. They seem to be counted from 1: subtract 1 from each.")
    if low < 0:
        return DataError(
            f"{found}; {must}. For samples that the loss shall leave out, give its ignore_index, -100 for "
            "CrossEntropyLoss; correct all other negative labels."
        )
    return DataError(f"{found}; {must}. Build it with the number of classes of the data, or correct the labels.")


def _kind(labels: Tensor) -> str:
    return str(labels.dtype).removeprefix("torch.")


def _name(net: nn.Module) -> str:
    return type(net).__name__
