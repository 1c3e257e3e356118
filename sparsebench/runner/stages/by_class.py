"""What an evaluation tells of classes: the share of the one predicted most, and how many of each are recognised.

Accuracy alone hides a network that never predicts a rare class: where one sample in fifty is a fault, "no fault" is
right 98 times in a hundred.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

SAME = 1e-6
"""An accuracy that differs by more from that of the classes predicted here comes from another rule."""


class ByClass(NamedTuple):
    """Shares between 0 and 1.

    Attributes:
        largest_share: share of the samples that went to the class predicted most.
        balanced_accuracy: mean over classes of the share of their samples that is recognised (Brodersen et al. 2010,
            "The balanced accuracy and its posterior distribution").
        worst_recall: that share of the class that is recognised least.
    """

    largest_share: float
    balanced_accuracy: float
    worst_recall: float


class Predictions:
    """Collects the outputs of a network and the labels of its batches, in their order."""

    def __init__(self) -> None:
        self._predicted: list[Tensor | None] = []
        self._labels: list[Any] = []

    def outputs(self, outputs: Any) -> None:
        """Take what a network gave out for a batch: scores (N, C), or one logit for two classes, (N,) or (N, 1)."""
        self._predicted.append(_classes(outputs))

    def labels(self, labels: Any) -> None:
        """Take the labels of a batch, (N,)."""
        self._labels.append(labels)

    def by_class(self, accuracy: float) -> ByClass | None:
        """Return the shares; None where outputs and labels are of another form, or do not give this accuracy."""
        if not self._predicted or any(one is None for one in self._predicted):
            return None
        predicted = torch.cat([one for one in self._predicted if one is not None]).cpu().numpy()
        rows = [np.asarray(torch.as_tensor(one).cpu()) for one in self._labels if _is_row(one)]
        labels = np.concatenate(rows) if rows else np.empty(0)
        if len(labels) != len(predicted) or not np.issubdtype(labels.dtype, np.integer):
            return None
        counts = labels >= 0  # An ignored label is below.
        predicted, labels = predicted[counts], labels[counts]
        right = predicted == labels
        if not len(labels) or abs(right.mean() - accuracy) > SAME:
            return None
        _, places, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        recalls = np.bincount(places, weights=right) / sizes
        most = np.unique(predicted, return_counts=True)[1].max()
        return ByClass(float(most / len(predicted)), float(recalls.mean()), float(recalls.min()))


def _classes(outputs: Any) -> Tensor | None:
    if not isinstance(outputs, Tensor) or outputs.dim() not in (1, 2) or outputs.dtype == torch.bool:
        return None
    scores = outputs.detach()
    if scores.dim() == 1 or scores.shape[1] == 1:
        return (scores.reshape(len(scores)) > 0).long()
    return scores.argmax(dim=1)


def _is_row(labels: Any) -> bool:
    return (isinstance(labels, Tensor | np.ndarray) and labels.ndim == 1) or isinstance(labels, list)
