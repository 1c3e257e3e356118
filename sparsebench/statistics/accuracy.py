"""How sure an accuracy is, and how sure it is that it changed, from counts of test samples."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from sparsebench.errors import DataError, SparsebenchError

Z = NormalDist().inv_cdf(0.975)
"""Standard normal quantile of a two-sided 95 % interval."""


class Interval(NamedTuple):
    """Lower and upper limit, as fractions."""

    low: float
    high: float


def wilson_interval(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion, without continuity correction.

    It keeps its level near 0 and 1 and for few samples, where the usual normal interval does not.
    Source: E. B. Wilson, JASA 22 (1927) 209–212; method 3 of R. G. Newcombe, Statistics in Medicine 17 (1998) 857–872.

    Args:
        correct: number of samples classified rightly, 0 to ``total``.
        total: number of samples, at least 1.
        level: confidence level, strictly between 0 and 1.

    Returns:
        Lower and upper end, each in [0, 1].

    Raises:
        DataError: where there is no sample, or ``correct`` does not lie within 0 and ``total``.
        SparsebenchError: where ``level`` is out of range.
    """
    if total < 1:
        raise DataError("There is no sample to score; the split is empty. Give it at least one sample.")
    if not 0 <= correct <= total:
        raise DataError(f"{correct} of {total} samples cannot be right; the number must lie within 0 and {total}.")
    if not 0 < level < 1:
        raise SparsebenchError(f"A confidence level of {level!r} is not possible; give one between 0 and 1, like 0.95.")
    z = float(ndtri((1 + level) / 2))
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # The ends are exact there, but rounding would leave 1e-17 instead of 0.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == total else min(1.0, centre + half)
    return low, high


def wilson(successes: float, n: int) -> Interval:
    """Return the same interval at 95 %, also for a number of successes in [0, n] that is no integer."""
    p, z2 = successes / n, Z * Z
    centre, scale = p + z2 / (2 * n), 1 + z2 / n
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return Interval(
        low=0.0 if successes <= 0 else (centre - half) / scale,
        high=1.0 if successes >= n else (centre + half) / scale,
    )


def paired_difference(both: int, first_only: int, second_only: int, neither: int) -> Interval:
    """Return the 95 % interval for first − second, two proportions of the same samples.

    Formula: Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17, method 10: score intervals of both proportions, joined through the
    correlation φ of the fourfold table, whose positive numerator is reduced by n / 2 but not below zero.

    Args:
        both: samples that both networks classify rightly.
        first_only: samples that only the first does.
        second_only: samples that only the second does.
        neither: samples that none does.
    """
    n = both + first_only + second_only + neither
    first, second = both + first_only, both + second_only
    product = first * (n - first) * second * (n - second)
    numerator: float = both * neither - first_only * second_only
    if numerator > 0:
        numerator = max(numerator - n / 2, 0.0)
    return _square_and_add(first, n, second, n, numerator / math.sqrt(product) if product else 0.0)


def unpaired_difference(first: float, n_first: int, second: float, n_second: int) -> Interval:
    """Return the 95 % interval for first − second, two proportions of independent samples.

    Formula: Newcombe 1998, "Interval estimation for the difference between independent proportions: comparison of
    eleven methods", Statistics in Medicine 17, method 10 (hybrid score).

    Args:
        first: rightly classified samples of the first.
        n_first: samples of the first.
        second: rightly classified samples of the second.
        n_second: samples of the second.
    """
    return _square_and_add(first, n_first, second, n_second, 0.0)


def _square_and_add(k1: float, n1: int, k2: float, n2: int, phi: float) -> Interval:
    p1, p2 = k1 / n1, k2 / n2
    (low1, high1), (low2, high2) = wilson(k1, n1), wilson(k2, n2)
    return Interval(
        low=max(-1.0, p1 - p2 - _joined(p1 - low1, high2 - p2, phi)),
        high=min(1.0, p1 - p2 + _joined(high1 - p1, p2 - low2, phi)),
    )


def _joined(first: float, second: float, phi: float) -> float:
    # Two networks that agree on every sample have φ just below 1; the sum of squares may then round below zero.
    return math.sqrt(max(0.0, first * first - 2 * phi * first * second + second * second))


def sign_flip_test(differences: ArrayLike) -> float:
    """Return the two-sided p-value of "which of two is which makes no difference", given integer differences.

    The exact randomization test for paired observations (Fisher 1935, "The design of experiments", section 21): the sum
    of the differences is compared with the sums under all choices of their signs. For differences of −1, 0 and 1, one
    network against another, it is McNemar's exact test (McNemar 1947, "Note on the sampling error of the difference
    between correlated proportions or percentages"); over seeds, a sample's difference is that of how many of the
    networks classify it rightly, so that samples, and not seeds, are what is drawn at random.

    The distribution comes out of its characteristic function, ∏ cos(|d| t), at 2T + 1 places; T is the sum of |d|. It
    is right to about 1e-13.

    Args:
        differences: integers, one for each test sample.
    """
    sizes, counts = np.unique(np.abs(np.asarray(differences, dtype=np.int64)), return_counts=True)
    places = 2 * int(sizes @ counts) + 1
    if places == 1:
        return 1.0
    angles = 2 * np.pi * np.arange(places) / places
    wave = np.ones(places)
    for size, count in zip(sizes, counts, strict=True):
        wave *= np.cos(size * angles) ** count
    chances = np.fft.fft(wave).real / places  # of the sums 0, 1, … T, −T, … −1
    sums = np.minimum(np.arange(places), places - np.arange(places))
    found = abs(int(np.sum(differences)))
    return float(np.clip(chances[sums >= found].sum(), 0.0, 1.0))


def p_from_limits(estimate: float, low: float, high: float) -> float:
    """Return the two-sided p-value of "the difference is 0" that fits a 95 % interval.

    It is that of a normal distribution whose width is the distance from the estimate to the limit on the side of 0; for
    unpaired proportions, whose interval is built of two such distances.
    """
    if estimate == 0:
        return 1.0
    distance = estimate - low if estimate > 0 else high - estimate
    return 2 * NormalDist().cdf(-Z * abs(estimate) / distance) if distance > 0 else 0.0
