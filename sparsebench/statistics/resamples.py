"""Bootstrap resamples of samples or groups of them: how often each unit is drawn.

The draws depend on the number of units alone. Networks that were evaluated on the same samples are so resampled alike,
and differences of their replicates are those of a paired bootstrap (Efron and Tibshirani 1993, "An introduction to the
bootstrap", chapter 6).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
"""Resamples of a metric that is quick: their spread is known to 2 %."""

_CELLS = 4_000_000
"""Counts that are held at once."""

Counts = NDArray[np.int64]


def drawn(units: int, resamples: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """Yield the units of each resample, (units,), as many as there are, drawn with replacement."""
    for number in range(resamples):
        # Each has its own generator, so that fewer resamples are the first of more.
        yield np.random.default_rng([units, number]).integers(0, units, units)


def counted(units: int, resamples: int = RESAMPLES) -> Iterator[Counts]:
    """Yield how often each unit is drawn, (resamples, units), in blocks of resamples."""
    block: list[Counts] = []
    for draw in drawn(units, resamples):
        block.append(np.bincount(draw, minlength=units))
        if len(block) * units >= _CELLS:
            yield np.array(block)
            block = []
    if block:
        yield np.array(block)


def over_groups(groups: ArrayLike) -> tuple[NDArray[np.int64], int]:
    """Return the place of each sample's group, (samples,), from 0, and how many groups there are."""
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    return places.reshape(-1).astype(np.int64), int(places.max()) + 1 if places.size else 0


def percentiles(replicates: ArrayLike, value: float, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a metric that its replicates tell, with the value itself in it.

    It is the percentile interval (Efron and Tibshirani 1993, chapter 13), which keeps to where a metric can be.
    """
    low, high = np.quantile(np.asarray(replicates, dtype=np.float64), [(1 - level) / 2, (1 + level) / 2])
    return min(float(low), value), max(float(high), value)
