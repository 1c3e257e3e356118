"""Tests of "nothing has changed", for accuracies read on one test set and for latencies of two sessions."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from sparsebench.statistics.intervals import Z
from sparsebench.statistics.verdicts import CONFIDENCE

LEVEL = 1 - CONFIDENCE
"""Share of families of tests in which something is called changed that is not."""


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
    distance = estimate - low if estimate > 0 else high - estimate
    if estimate == 0:
        return 1.0
    return 2 * NormalDist().cdf(-Z * abs(estimate) / distance) if distance > 0 else 0.0


class LogRatio(NamedTuple):
    """A latency beside its baseline, as one session knows it.

    ``log_ratio`` is the logarithm of the ratio, ``variance`` that of its estimate, and ``freedom`` how many degrees of
    freedom the variance has.
    """

    log_ratio: float
    variance: float
    freedom: int


def log_ratio(ratio: float, low: float, high: float, generation_ratios: Sequence[float]) -> LogRatio | None:
    """Return a ratio of a session with the variance that it has from session to session; None where that is not known.

    How a process lays out its memory and what the machine does meanwhile change a ratio from one worker process to the
    next, and no number of rounds within them averages that out. So processes are what counts as drawn at random
    (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time": the highest level of repetition bounds the
    precision): the variance is s² / G, of the logarithms of the ratios within each of G processes. Where the interval
    of the bootstrap over rounds is wider than that, its variance is taken, for G is small and the processes may be
    alike by luck.

    Args:
        ratio: of the session.
        low: lower limit of its 95 % interval.
        high: upper limit.
        generation_ratios: the ratio within each worker process.
    """
    if len(generation_ratios) < 2 or min(ratio, low, high, *generation_ratios) <= 0:
        return None
    logs = np.log(generation_ratios)
    between = float(np.var(logs, ddof=1)) / len(logs)
    within = (math.log(high / low) / (2 * Z)) ** 2
    return LogRatio(math.log(ratio), max(between, within), len(logs) - 1)


class RatioChange(NamedTuple):
    """A ratio after, divided by the ratio before: with its 95 % limits and the p-value of "it is 1"."""

    ratio: float
    low: float
    high: float
    p_value: float


def unpaired_change(before: Sequence[LogRatio], after: Sequence[LogRatio]) -> RatioChange:
    """Return how ratios changed from sessions to other sessions, which share no rounds.

    Formula: mean(log after) − mean(log before) ± t · √(Σ variances / n²), with the degrees of freedom of Welch 1947,
    "The generalization of 'Student's' problem when several different population variances are involved", in the form of
    Satterthwaite 1946.

    Args:
        before: one for each seed, at least one.
        after: the same seeds in the same order.
    """
    n = len(before)
    shift = math.fsum(one.log_ratio for one in after) / n - math.fsum(one.log_ratio for one in before) / n
    parts = [(one.variance / n**2, one.freedom) for one in (*before, *after)]
    variance = math.fsum(part for part, _ in parts)
    if variance == 0:
        return RatioChange(math.exp(shift), math.exp(shift), math.exp(shift), 1.0 if shift == 0 else 0.0)
    freedom = variance**2 / math.fsum(part**2 / degrees for part, degrees in parts)
    error = math.sqrt(variance)
    reach = float(stdtrit(freedom, 1 - LEVEL / 2)) * error
    p_value = 2 * float(stdtr(freedom, -abs(shift) / error))
    return RatioChange(math.exp(shift), math.exp(shift - reach), math.exp(shift + reach), p_value)
