"""95 % intervals for accuracies and their differences, from counts of test samples."""

import math
from statistics import NormalDist
from typing import NamedTuple

Z = NormalDist().inv_cdf(0.975)
"""Standard normal quantile of a two-sided 95 % interval."""


class Interval(NamedTuple):
    """Lower and upper limit, as fractions."""

    low: float
    high: float


def wilson(successes: float, n: int) -> Interval:
    """Return Wilson's score interval for a proportion.

    Formula: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Args:
        successes: how many of the samples were right, in [0, n].
        n: samples, at least 1.
    """
    p, z2 = successes / n, Z * Z
    centre = p + z2 / (2 * n)
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    scale = 1 + z2 / n
    # At 0 and n the limit is exactly 0 or 1, which rounding errors would miss.
    low = 0.0 if successes <= 0 else (centre - half) / scale
    high = 1.0 if successes >= n else (centre + half) / scale
    return Interval(low, high)


def paired_difference(both: int, first_only: int, second_only: int, neither: int) -> Interval:
    """Return the interval for first − second, two proportions of the same samples.

    Formula: Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17, method 10: score intervals of both proportions, joined through the
    correlation φ, whose numerator is corrected for continuity.

    Args:
        both: samples that both networks classify rightly.
        first_only: samples that only the first does.
        second_only: samples that only the second does.
        neither: samples that none does.
    """
    n = both + first_only + second_only + neither
    k1, k2 = both + first_only, both + second_only
    return _square_and_add(k1, n, k2, n, _corrected_phi(both, first_only, second_only, neither))


def unpaired_difference(first: float, n_first: int, second: float, n_second: int) -> Interval:
    """Return the interval for first − second, two proportions of independent samples.

    Formula: Newcombe 1998, "Interval estimation for the difference between independent proportions: comparison of
    eleven methods", Statistics in Medicine 17, method 10 (hybrid score).

    Args:
        first: rightly classified samples of the first.
        n_first: samples of the first.
        second: rightly classified samples of the second.
        n_second: samples of the second.
    """
    return _square_and_add(first, n_first, second, n_second, 0.0)


def _corrected_phi(a: int, b: int, c: int, d: int) -> float:
    """Return the correlation of a fourfold table, its positive numerator reduced by n / 2 but not below zero."""
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if product == 0:
        return 0.0
    numerator: float = a * d - b * c
    if numerator > 0:
        numerator = max(numerator - (a + b + c + d) / 2, 0.0)
    return numerator / math.sqrt(product)


def _square_and_add(k1: float, n1: int, k2: float, n2: int, phi: float) -> Interval:
    p1, p2 = k1 / n1, k2 / n2
    (low1, high1), (low2, high2) = wilson(k1, n1), wilson(k2, n2)
    below = _joined(p1 - low1, high2 - p2, phi)
    above = _joined(high1 - p1, p2 - low2, phi)
    return Interval(max(-1.0, p1 - p2 - below), min(1.0, p1 - p2 + above))


def _joined(first: float, second: float, phi: float) -> float:
    # Two networks that agree on every sample have φ just below 1; the sum of squares may then round below zero.
    return math.sqrt(max(0.0, first * first - 2 * phi * first * second + second * second))
