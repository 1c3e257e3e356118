"""Metrics of numbers that a network estimates: how far it is off, and how much of their spread it explains."""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from sparsebench.metrics.base import Floats, Metric
from sparsebench.metrics.means import MeanMetric
from sparsebench.metrics.resampled import SumsMetric, quotient
from sparsebench.store.scales import Scale


class _OfNumbers(Metric):
    """Takes outputs (N,), (N, 1) or (N, …) and as many targets."""

    targets = "values"
    criterion = "mse"

    def problem(self, outputs: Tensor, targets: Tensor) -> str | None:
        """Return that outputs and targets are not alike."""
        found = f"outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}"
        if len(outputs) == len(targets) and outputs.numel() == targets.numel():
            return None
        return (
            f"{self.scale.title} takes one number for each output, and there are {found}. Build the network with as "
            "many outputs as a sample has numbers to estimate."
        )

    def for_loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return both in the shape of the outputs: otherwise torch would compare each with each."""
        return outputs, targets.reshape(outputs.shape)


def _rows(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return outputs.double().reshape(len(outputs), -1), targets.double().reshape(len(targets), -1)


class _MeanError(_OfNumbers, MeanMetric):
    """The mean of an error over samples, and over the numbers of each."""

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the error of each sample, (N,)."""
        found, wanted = _rows(outputs, targets)
        return self.error(found - wanted).mean(1)

    @abstractmethod
    def error(self, difference: Tensor) -> Tensor:
        """Return the error of each number, (N, K), from outputs less targets."""


class MeanAbsoluteError(_MeanError):
    """Mean of |output − target|, in the unit of the targets."""

    scale = Scale(metric="mean_absolute_error", title="mean absolute error", short="MAE", higher_is_better=False)

    def error(self, difference: Tensor) -> Tensor:
        """Return the absolute differences."""
        return difference.abs()


class MeanSquaredError(_MeanError):
    """Mean of (output − target)², in the square of the unit of the targets."""

    scale = Scale(metric="mean_squared_error", title="mean squared error", short="MSE", higher_is_better=False)

    def error(self, difference: Tensor) -> Tensor:
        """Return the squared differences."""
        return difference.square()


class RootMeanSquaredError(_OfNumbers, SumsMetric):
    """Root of the mean of (output − target)², in the unit of the targets."""

    scale = Scale(
        metric="root_mean_squared_error", title="root mean squared error", short="RMSE", higher_is_better=False
    )

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared difference of each sample beside 1."""
        found, wanted = _rows(outputs, targets)
        squares = (found - wanted).square().mean(1, keepdim=True)
        return torch.cat([squares, torch.ones_like(squares)], dim=1)

    def of_sums(self, sums: Floats) -> Floats:
        """Return the root of the mean."""
        return np.sqrt(quotient(sums[..., 0], sums[..., 1]))


class R2(_OfNumbers, SumsMetric):
    """Coefficient of determination, 1 − Σ(target − output)² / Σ(target − mean)²; of several numbers the mean over them.

    It is 1 where nothing is wrong, 0 for a network that always gives the mean, and below that for worse ones.
    """

    scale = Scale(metric="r2", title="R²", short="R²", higher_is_better=True)
    why_not_finite = "It needs two samples or more whose targets differ."

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1, the targets, their squares and the squared differences of each sample, each as many as numbers."""
        found, wanted = _rows(outputs, targets)
        return torch.cat([torch.ones_like(wanted), wanted, wanted.square(), (found - wanted).square()], dim=1)

    def of_sums(self, sums: Floats) -> Floats:
        """Return the share that is explained."""
        count, total, squares, errors = np.split(sums, 4, axis=-1)
        spread = squares - np.square(total) / count
        # What rounding leaves of equal targets is no spread.
        spread = np.where(spread > 1e-12 * squares, spread, 0.0)
        return np.asarray((1.0 - quotient(errors, spread)).mean(-1))
