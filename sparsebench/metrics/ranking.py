"""How well scores rank samples of a class before those of others."""

import numpy as np
import torch
from torch import Tensor

from sparsebench.metrics.base import Floats
from sparsebench.metrics.classes import share
from sparsebench.metrics.resampled import Resampled, mean_of_known, quotient


class AUROC(Resampled):
    """Area under the ROC curve: the chance that a sample of the class has a higher score than one that is not of it.

    Equal scores count half (Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve"). Of more than
    two classes it is the mean over classes, each against the rest, of their probabilities.
    """

    scale = share("auroc", "area under the ROC curve", "AUROC")
    of_classes = True
    why_not_finite = "It needs samples of two classes or more."

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scores of each class and whether the sample is of it, (N, 2 C); of two classes those of one."""
        if outputs.dim() == 1 or outputs.shape[1] == 1:
            scores, there = outputs.reshape(-1, 1), (targets.reshape(-1, 1) > 0)
        else:
            wanted = targets.argmax(1) if targets.dim() == 2 else targets
            there = torch.nn.functional.one_hot(wanted, outputs.shape[1]) > 0
            scores = outputs.double().log_softmax(1)
            if outputs.shape[1] == 2:
                scores, there = scores[:, 1:] - scores[:, :1], there[:, 1:]
        return torch.cat([scores.double(), there.double()], dim=1)

    def of_rows(self, rows: Floats, weights: Floats) -> Floats:
        """Return the area, the mean over classes."""
        classes = rows.shape[1] // 2
        areas = [_area(rows[:, place], rows[:, classes + place], weights) for place in range(classes)]
        return mean_of_known(np.stack(areas, axis=-1))


def _area(scores: Floats, there: Floats, weights: Floats) -> Floats:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    of_class = np.add.reduceat((weights * there)[..., order], starts, axis=-1)
    others = np.add.reduceat((weights * (1 - there))[..., order], starts, axis=-1)
    below = np.cumsum(others, axis=-1) - others / 2
    return quotient((of_class * below).sum(-1), of_class.sum(-1) * others.sum(-1))
