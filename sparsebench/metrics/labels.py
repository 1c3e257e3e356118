"""Metrics of several labels a sample, each of which it has or has not."""

import numpy as np
import torch
from torch import Tensor

from sparsebench.metrics.base import Floats, Metric
from sparsebench.metrics.classes import share
from sparsebench.metrics.means import MeanMetric
from sparsebench.metrics.resampled import SumsMetric, mean_of_known, quotient


class _OfLabels(Metric):
    """Takes a logit for each label of a sample, (N, C), and targets 0 and 1, (N, C)."""

    targets = "values"
    criterion = "bce"

    def problem(self, outputs: Tensor, targets: Tensor) -> str | None:
        """Return that outputs and targets are not alike, or targets are not 0 and 1."""
        if outputs.dim() == 2 and outputs.shape == targets.shape:
            if bool(((targets == 0) | (targets == 1)).all()):
                return None
            return f"{self.scale.title} takes targets that are 0 or 1, for each label of a sample; some are others."
        return (
            f"{self.scale.title} takes a logit and a target, 0 or 1, for each label of a sample, both (N, labels), and "
            f"there are outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}."
        )


class MultilabelAccuracy(_OfLabels, MeanMetric):
    """Mean over samples of the share of their labels that are right, by the sign of each logit."""

    scale = share("multilabel_accuracy", "multi-label accuracy", "multi-label accuracy")

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the share of labels that are right of each sample."""
        return ((outputs > 0) == (targets > 0)).double().mean(1)


class ExactMatch(_OfLabels, MeanMetric):
    """Share of samples all of whose labels are right, by the sign of each logit."""

    scale = share("exact_match", "exact match", "exact match")

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1 for each sample all of whose labels are right, 0 for the others."""
        return ((outputs > 0) == (targets > 0)).all(1)


class MultilabelF1(_OfLabels, SumsMetric):
    """Mean over labels of 2 · right / (predicted + there); labels that nobody has or predicts are left out."""

    scale = share("multilabel_f1", "multi-label F1 score", "multi-label F1")

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return counts of each label, (N, 3 C)."""
        mine, theirs = outputs > 0, targets > 0
        return torch.cat([mine & theirs, mine, theirs], dim=1).double()

    def of_sums(self, sums: Floats) -> Floats:
        """Return the mean over labels."""
        right, predicted, there = np.split(sums, 3, axis=-1)
        return mean_of_known(quotient(2 * right, predicted + there))
