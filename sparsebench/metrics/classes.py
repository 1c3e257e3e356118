"""Metrics of one class a sample."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sparsebench.metrics.base import Floats, Metric
from sparsebench.metrics.means import MeanMetric
from sparsebench.metrics.resampled import SumsMetric, mean_of_known, quotient
from sparsebench.store.scales import ACCURACY, Scale


def share(metric: str, title: str, short: str) -> Scale:
    """Return the scale of a share of which more is better."""
    return Scale(metric=metric, title=title, short=short, higher_is_better=True, share=True, digits=2)


class _OfClasses(Metric):
    of_classes = True


def _counts(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return, of each class, whether a sample is rightly of it, was put into it, and is of it: (N, 3 C).

    One logit stands for two classes; its sign tells which.
    """
    if outputs.dim() == 1 or outputs.shape[1] == 1:
        classes, predicted, wanted = 2, (outputs.flatten() > 0).long(), (targets.flatten() > 0).long()
    else:
        wanted = targets.argmax(1) if targets.dim() == 2 else targets.long()
        classes, predicted = outputs.shape[1], outputs.argmax(1)
    mine, theirs = one_hot(predicted, classes), one_hot(wanted, classes)
    return torch.cat([mine * theirs, mine, theirs], dim=1).double()


class Accuracy(_OfClasses, MeanMetric):
    """Share of samples that are classified rightly: the metric where none is named."""

    scale = ACCURACY

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1 for each sample that is right, 0 for the others."""
        if outputs.dim() == 1 or outputs.shape[1] == 1:
            return (outputs.flatten() > 0) == (targets.flatten() > 0)
        return outputs.argmax(1) == (targets.argmax(1) if targets.dim() == 2 else targets)


class TopFive(_OfClasses, MeanMetric):
    """Share of samples whose class is among the k likeliest.

    Args:
        k: how many are looked at.
    """

    scale = share("top5", "top-5 accuracy", "top-5")

    def __init__(self, k: int = 5) -> None:
        self.k = k
        if k != 5:
            self.scale = share("top5", f"top-{k} accuracy", f"top-{k}")

    def problem(self, outputs: Tensor, targets: Tensor) -> str | None:
        """Return that there are too few classes."""
        del targets
        classes = outputs.shape[1] if outputs.dim() > 1 else 1
        if classes > self.k:
            return None
        return (
            f"{self.scale.title} takes scores of more than {self.k} classes, and there are {classes}: each class is "
            "always among them. Choose accuracy, or another k in options."
        )

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1 for each sample that is right, 0 for the others."""
        wanted = targets.argmax(1) if targets.dim() == 2 else targets
        return (outputs.topk(self.k).indices == wanted.unsqueeze(1)).any(1)


class BalancedAccuracy(_OfClasses, SumsMetric):
    """Mean over classes of the share of their samples that is recognised.

    Source: Brodersen et al. 2010, "The balanced accuracy and its posterior distribution".
    """

    scale = share("balanced_accuracy", "balanced accuracy", "balanced accuracy")

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return counts of each class."""
        return _counts(outputs, targets)

    def of_sums(self, sums: Floats) -> Floats:
        """Return the mean over the classes that samples have."""
        right, _, there = np.split(sums, 3, axis=-1)
        return mean_of_known(quotient(right, there))


class F1(_OfClasses, SumsMetric):
    """Mean over classes of 2 · right / (predicted + there), the harmonic mean of precision and recall ("macro").

    Classes that no sample has and no network predicts are left out.
    """

    scale = share("f1", "F1 score, mean over classes", "F1")

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return counts of each class."""
        return _counts(outputs, targets)

    def of_sums(self, sums: Floats) -> Floats:
        """Return the mean over classes."""
        right, predicted, there = np.split(sums, 3, axis=-1)
        return mean_of_known(quotient(2 * right, predicted + there))
