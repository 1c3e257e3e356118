"""Metrics of a class for each pixel."""

import numpy as np
import torch
from torch import Tensor

from sparsebench.metrics.base import Floats
from sparsebench.metrics.classes import share
from sparsebench.metrics.resampled import SumsMetric, mean_of_known, quotient

_VOID = 255


class IoU(SumsMetric):
    """Mean over classes of intersection over union, of all pixels together ("mean IoU", Everingham et al. 2015).

    Images are resampled, not pixels: those of one image are alike.

    Args:
        ignore_index: pixels with this label do not count; nor does the loss count them.
    """

    scale = share("iou", "mean IoU", "mIoU")
    why_not_finite = "Every pixel has the label that is ignored."

    def __init__(self, ignore_index: int = _VOID) -> None:
        self.ignore_index = ignore_index

    def problem(self, outputs: Tensor, targets: Tensor) -> str | None:
        """Return that outputs and targets are not of one form, or labels lie beyond the classes."""
        if outputs.dim() != 4 or targets.dim() != 3 or outputs.shape[2:] != targets.shape[1:]:
            return (
                f"{self.scale.title} takes scores of each class for each pixel, (N, classes, H, W), and the class of "
                f"each pixel, (N, H, W), and there are outputs of shape {tuple(outputs.shape)} and targets of shape "
                f"{tuple(targets.shape)}."
            )
        counted = targets[targets != self.ignore_index]
        classes = max(2, outputs.shape[1])
        if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
            return (
                f"Labels of pixels are from {int(counted.min())} to {int(counted.max())}, and there are {classes} "
                f"classes; they must be from 0 to {classes - 1}, or {self.ignore_index} where a pixel does not count "
                "(ignore_index in options)."
            )
        return None

    def for_loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores and labels of the pixels that count: (P, C) and (P,)."""
        counts = targets != self.ignore_index
        return outputs.movedim(1, -1)[counts], targets[counts]

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return pixels of each class in both, in the prediction and in the truth, of each image: (N, 3 C)."""
        classes = max(2, outputs.shape[1])
        predicted = outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()
        counts = targets != self.ignore_index
        pairs = torch.where(counts, predicted * classes + targets, classes * classes)
        # A row of counts for each image: its place is added to what is counted.
        bins = classes * classes + 1
        places = torch.arange(len(pairs), device=pairs.device).reshape(-1, 1, 1) * bins
        table = torch.bincount((pairs + places).flatten(), minlength=len(pairs) * bins)
        table = table.reshape(-1, bins)[:, :-1].reshape(-1, classes, classes)
        return torch.cat([table.diagonal(dim1=1, dim2=2), table.sum(2), table.sum(1)], dim=1).double()

    def of_sums(self, sums: Floats) -> Floats:
        """Return the mean over the classes that are in the prediction or in the truth."""
        both, predicted, there = np.split(sums, 3, axis=-1)
        return mean_of_known(quotient(both, predicted + there - both))
