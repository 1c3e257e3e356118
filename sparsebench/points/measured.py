"""Differences of metrics other than accuracy: of values of each sample, or of replicates over the same resamples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparsebench.statistics.differences import (
    Estimate,
    averaged,
    from_replicates,
    from_samples,
    of_independent,
    variance_of,
)
from sparsebench.store.results import EvaluateResult
from sparsebench.store.scales import Scale

Term = tuple[int, EvaluateResult]
"""What an evaluation counts with: 1, or −1 where it is subtracted."""

Floats = NDArray[np.float64]

Found = tuple[float, Estimate, Estimate | None, bool, bool]
"""A difference, its error for these networks and for another training, whether it is paired, and whether it is none."""

_SAME = 1e-4
"""The mean of values, as a share of the value, that is still that of the record: they are float32."""


def other_scale(columns: Sequence[Sequence[Term]]) -> Scale | None:
    """Return the scale of the metric that evaluations are of; None where it is accuracy."""
    scale = columns[0][0][1].scale
    return None if scale.is_accuracy else scale


def minus(first: Sequence[Term], second: Sequence[Term]) -> Sequence[Term]:
    """Return the terms of first − second."""
    return [*first, *((-sign, result) for sign, result in second)]


def samples_of(columns: Sequence[Sequence[Term]]) -> int:
    """Return how many samples all of them read, 0 where they differ."""
    read = {result.samples for terms in columns for _, result in terms}
    return read.pop() if len(read) == 1 else 0


def over_seeds(columns: Sequence[Sequence[Term]], sides: int) -> tuple[Sequence[Sequence[Term]], list[float], float]:
    """Return the terms of each seed, both sides in one; what each column sums up to; and the mean difference.

    Args:
        columns: the terms of each seed; with two sides those of all seeds before and then those of all seeds after.
        sides: 1, or 2.
    """
    seeds = len(columns) // sides
    by_seed = columns
    if sides == 2:
        by_seed = [minus(*both) for both in zip(columns[:seeds], columns[seeds:], strict=True)]
    means = [sum(sign * result.value for sign, result in terms) for terms in columns]
    return by_seed, means, (sum(means[:seeds]) - sum(means[seeds:])) / seeds


class Measurements:
    """Reads and compares what metrics left; what was read once is kept."""

    def __init__(self) -> None:
        self._read: dict[str, Floats | None] = {}

    def joined(self, columns: Sequence[Sequence[Term]], sides: int, same_data: bool) -> Found:
        """Return the mean over seeds of signed sums of a metric, with its errors; see ``Correctness.joined``."""
        by_seed, means, value = over_seeds(columns, sides)
        found = self._paired(columns, means, sides) if same_data else None
        if found is not None:
            rows = [self._rows(terms) for terms in by_seed]
            unchanged = all(row is not None and not row.any() for row in rows)
            return value, *found, True, unchanged
        ones = [self._of_one(terms, same_data) for terms in by_seed]
        these, other = averaged([one for one, _ in ones], [means[: len(by_seed)], means[len(by_seed) :]][:sides])
        return value, these, other, all(is_paired for _, is_paired in ones), False

    def _paired(
        self, columns: Sequence[Sequence[Term]], means: Sequence[float], sides: int
    ) -> tuple[Estimate, Estimate | None] | None:
        rows = [self._rows(terms) for terms in columns]
        known = [row for row in rows if row is not None]
        if len(known) < len(rows) or not samples_of(columns):
            return None
        if any(terms[0][1].score is None or terms[0][1].score.values is None for terms in columns):
            # Of different numbers of resamples the first are the same.
            fewest = min(map(len, known))
            return from_replicates(means, np.column_stack([row[:fewest] for row in known]), sides)
        return from_samples(np.column_stack(known), sides)

    def _of_one(self, terms: Sequence[Term], same_data: bool) -> tuple[Estimate, bool]:
        """Return the difference of one seed, and whether it is paired."""
        if same_data and (found := self._paired([terms], [sum(s * r.value for s, r in terms)], 1)):
            return found[0], True
        signs, results = zip(*terms, strict=True)
        variances = [variance_of(result.low, result.high) for result in results]
        return of_independent([result.value for result in results], variances, signs), False

    def _rows(self, terms: Sequence[Term]) -> Floats | None:
        """Return the signed sum of what evaluations left, all of one kind; None where one left none, or another."""
        found = [(sign, row, result) for sign, result in terms if (row := self._left(result)) is not None]
        kinds = {result.score is not None and result.score.values is not None for _, _, result in found}
        units = {result.score.units for _, _, result in found if result.score is not None}
        if len(found) < len(terms) or len(kinds) > 1 or len(units) > 1:
            return None
        fewest = min(len(row) for _, row, _ in found)
        return np.asarray(sum(sign * row[:fewest] for sign, row, _ in found))

    def _left(self, result: EvaluateResult) -> Floats | None:
        """Return the value of each sample, or the replicates; None where there are none that fit the value."""
        score = result.score
        packed = (score.values or score.replicates) if score else None
        if score is None or packed is None:
            return None
        if packed not in self._read:
            found = result.values if score.values is not None else result.replicates
            fits = found is not None and (
                score.values is None or abs(float(found.mean()) - score.value) <= _SAME * max(1e-9, abs(found).mean())
            )
            self._read[packed] = found if fits else None
        return self._read[packed]
