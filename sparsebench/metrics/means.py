"""Metrics that are the mean of one value a sample."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsebench.errors import DataError
from sparsebench.metrics.base import Floats, Measured, Metric
from sparsebench.statistics.accuracy import wilson_interval
from sparsebench.statistics.differences import from_samples


class MeanMetric(Metric):
    """The mean of one value a sample. Differences between networks are paired sample by sample."""

    @abstractmethod
    def values(self, outputs: Any, targets: Any) -> Tensor:
        """Return the value of each sample of a batch, (N,)."""

    def kept(self, outputs: Any, targets: Any) -> Tensor:
        """Return the value of each sample of a batch, (N,), as float64."""
        return self.values(outputs, targets).detach().double()

    def measured(self, kept: Sequence[Any]) -> Measured:
        """Return the mean with its interval."""
        return mean_of(torch.cat(list(kept)).cpu().numpy(), self.scale.title)

    def value(self, kept: Sequence[Any]) -> float:
        """Return the mean."""
        return float(torch.cat(list(kept)).mean())


def mean_of(values: Floats, title: str) -> Measured:
    """Return the mean of a value for each sample, (N,), with its interval: Wilson's where each is 0 or 1.

    Raises:
        DataError: where there is no sample, or a value is no number.
    """
    if not len(values):
        raise DataError("There is no sample to score; the split is empty. Give it at least one sample.")
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(
            f"The {title} of sample {place} is {values[place]}; each must be a finite number. Look for NaN in the "
            "outputs of the network and in the targets."
        )
    value = float(values.mean())
    if np.isin(values, (0.0, 1.0)).all():
        low, high = wilson_interval(round(float(values.sum())), len(values))
    elif len(values) > 1:
        low, high = (float(end) for end in from_samples(values[:, None])[0].limits())
    else:
        return Measured(value=value, samples=1, values=values)
    return Measured(value=value, samples=len(values), low=min(low, value), high=max(high, value), values=values)
