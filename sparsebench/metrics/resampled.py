"""Metrics that are one value over all samples: how far they are known is told by resampling."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsebench.errors import DataError, NoValueError
from sparsebench.metrics.base import Floats, Measured, Metric
from sparsebench.statistics.resamples import RESAMPLES, counted, percentiles


class Resampled(Metric):
    """One value over all samples, each of which has a weight: how often a resample has it."""

    @abstractmethod
    def rows(self, outputs: Any, targets: Any) -> Tensor:
        """Return what is kept of each sample of a batch, (N, K)."""

    @abstractmethod
    def of_rows(self, rows: Floats, weights: Floats) -> Floats:
        """Return the metric for each set of weights.

        Args:
            rows: of all samples, (N, K).
            weights: whole numbers, (…, N).

        Returns:
            One value for each set, (…); NaN where a set has none, as where a class is not in it.
        """

    def kept(self, outputs: Any, targets: Any) -> Tensor:
        """Return what is kept of each sample of a batch, (N, K), as float64."""
        return self.rows(outputs, targets).detach().double()

    def measured(self, kept: Sequence[Any]) -> Measured:
        """Return the metric with its percentile interval and its replicates."""
        rows = torch.cat(list(kept)).cpu().numpy()
        value = self._of_all(rows)
        units = len(rows)
        blocks = [self.of_rows(rows, weights.astype(np.float64)) for weights in counted(units, RESAMPLES)]
        return resampled(value, units, units, np.concatenate(blocks))

    def value(self, kept: Sequence[Any]) -> float:
        """Return the metric alone."""
        return self._of_all(torch.cat(list(kept)).cpu().numpy())

    def _of_all(self, rows: Floats) -> float:
        if not len(rows):
            raise DataError("There is no sample to score; the split is empty. Give it at least one sample.")
        value = float(self.of_rows(rows, np.ones(len(rows))))
        if not np.isfinite(value):
            raise NoValueError(
                f"The {self.scale.title} of these {len(rows):,} samples is {value}. {self.why_not_finite}"
            )
        return value

    why_not_finite = "Look for NaN in the outputs of the network and in the targets."
    """What to look for where there is no value, as sentences."""


class SumsMetric(Resampled):
    """A function of sums over samples, such as F1 of counts, so that a resample costs a product of matrices."""

    @abstractmethod
    def of_sums(self, sums: Floats) -> Floats:
        """Return the metric of sums over samples of what is kept of each, (…, K); a value for each, (…)."""

    def of_rows(self, rows: Floats, weights: Floats) -> Floats:
        """Return the metric of weighted sums."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.of_sums(weights @ rows))


def resampled(value: float, samples: int, units: int, replicates: Floats, note: str = "") -> Measured:
    """Return a metric with its percentile interval; resamples that have none count as the value itself."""
    found = np.where(np.isfinite(replicates), replicates, value)
    low, high = percentiles(found, value)
    return Measured(value=value, samples=samples, low=low, high=high, replicates=found, units=units, note=note)


def quotient(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, NaN where the whole is 0."""
    return np.asarray(np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan))


def mean_of_known(shares: Floats) -> Floats:
    """Return the mean over the last axis of what is no NaN; NaN where all are."""
    there = ~np.isnan(shares)
    return np.asarray(quotient(np.where(there, shares, 0.0).sum(-1), there.sum(-1).astype(np.float64)))
