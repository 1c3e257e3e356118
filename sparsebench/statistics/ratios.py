"""What rounds of paired log ratios say about a latency ratio, and how it changed between sessions that share no rounds.

Everything here is a pure function of arrays and works on many variants, or many sessions, at once.

The stopping rule looks at the width of the intervals only, never at where they lie. Asymptotically such a rule costs no
coverage (Chow and Robbins 1965, "On the asymptotic theory of fixed-width sequential confidence intervals for the mean";
for trials resized by their spread alone: Kieser and Friede 2003, "Simple procedures for blinded sample size adjustment
that do not affect the type I error rate"). At few looks and tens of rounds it costs about half a point: where an
interval is narrow, it may be so by luck. ``STOPPING_RESERVE`` keeps that back: at each look an interval is one of
95.5 %, and what is shown at the end covers the truth in 95 to 96.5 % of all sessions, stopped early or not; the tests
simulate it.
Correcting for each look in full (Pocock, Bonferroni) would make every interval wider than it has to be.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtr, stdtr, stdtrit

from sparsebench.statistics.accuracy import Z
from sparsebench.statistics.verdicts import ERROR_LEVEL, LEVEL

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """Median log ratios with their intervals; arrays of the same shape."""

    centre: Floats
    low: Floats
    high: Floats


def median_interval(log_ratios: ArrayLike, generations: Sequence[int], error: float = ERROR_LEVEL) -> Estimate:
    """Return the median of rounds and the interval of a bootstrap over whole rounds within each generation.

    The bootstrap draws, in each generation, as many of its rounds with replacement as it has, and takes the median of
    all their ratios. How often that median is at or below a value can be computed (for one ratio a round: Efron 1979,
    "Bootstrap methods: another look at the jackknife", section 3), so that nothing is drawn at random here. The limits
    are the quantiles of its mid-distribution, linear between ratios (Parzen 2004, "Quantile probability and statistical
    data modeling"); those of the step function itself cover now 95, now 98 % where 97 % are asked for, depending on
    the number of rounds.

    Args:
        log_ratios: shape (…, rounds, neighbours), at least one round.
        generations: of each round, the worker generation it was timed in.
        error: share of intervals that may miss the truth, two-sided.

    Returns:
        Arrays of shape (…). With fewer than about six rounds the interval is the range of the ratios and covers less.
    """
    ratios = np.sort(np.asarray(log_ratios, dtype=np.float64), axis=-1)
    rounds, neighbours = ratios.shape[-2:]
    present, which = np.unique(np.asarray(generations), return_inverse=True)
    # Each ratio is the i-th smallest of its round, and its round belongs to a generation.
    labels = (which[:, None] * neighbours + np.arange(neighbours)).reshape(-1)
    flat = ratios.reshape(*ratios.shape[:-2], rounds * neighbours)
    order = np.argsort(flat, axis=-1, kind="stable")
    ranked = np.take_along_axis(flat, order, axis=-1)
    # Up to each rank: of each generation, the rounds that have at least 1, 2, … of their ratios there.
    counts = (labels[order][..., None] == np.arange(len(present) * neighbours)).cumsum(axis=-2)
    at_or_below = _median_at_or_below(counts.reshape(*ranked.shape, len(present), neighbours), np.bincount(which))
    below = np.concatenate([np.zeros_like(at_or_below[..., :1]), at_or_below[..., :-1]], axis=-1)
    mid = (at_or_below + below) / 2
    tail = _expanded(error / 2, rounds, len(present))
    return Estimate(np.median(flat, axis=-1), _quantile(ranked, mid, tail), _quantile(ranked, mid, 1 - tail))


def _expanded(tail: float, rounds: int, generations: int) -> float:
    """Return the smaller tail that makes up for how narrow bootstrap intervals of few rounds are.

    Formula: the expanded percentile interval of Hesterberg 2015, "What teachers should know about the bootstrap",
    section 5.3, with one degree of freedom taken by each generation.
    """
    freedom = rounds - generations
    return float(ndtr(stdtrit(freedom, tail) * np.sqrt(rounds / freedom))) if freedom > 0 else tail


def _median_at_or_below(counts: NDArray[np.int_], sizes: NDArray[np.int_]) -> Floats:
    """Return the chance that a bootstrap median is at or below a value.

    A round drawn from a generation has 0, 1, … ratios at or below the value with known chances; the number over all
    draws is a sum of independent ones, whose characteristic function is a product.

    Args:
        counts: shape (…, generations, neighbours), how many rounds of a generation have at least 1, 2, … ratios at or
            below the value.
        sizes: rounds of each generation.

    Returns:
        Shape (…): the mean of the chances of the lower and the upper middle one, which are the same of an odd number.
    """
    generations, neighbours = counts.shape[-2:]
    total = int(sizes.sum()) * neighbours
    wave = np.exp(-2j * np.pi * np.arange((total + 1) // 2 + 1) / (total + 1))
    steps = [wave**ratios - wave ** (ratios - 1) for ratios in range(1, neighbours + 1)]
    product = np.ones((), dtype=np.complex128)
    for generation in range(generations):
        shares = counts[..., generation, :, None] / sizes[generation]
        one_draw = 1 + sum(shares[..., place, :] * step for place, step in enumerate(steps))
        product = product * one_draw ** int(sizes[generation])
    chances = np.fft.irfft(product[..., : (total + 1) // 2 + 1], n=total + 1, axis=-1)
    lower, upper = (total + 1) // 2, total // 2 + 1
    return np.asarray((chances[..., lower:].sum(axis=-1) + chances[..., upper:].sum(axis=-1)) / 2)


def _quantile(ranked: Floats, mid: Floats, level: float) -> Floats:
    """Return where a mid-distribution, known at ranked values (both of shape (…, n)), reaches a level."""
    reached = mid >= level
    last = ranked.shape[-1] - 1
    right = np.where(reached.any(axis=-1), reached.argmax(axis=-1), last)[..., None]
    left = np.maximum(right - 1, 0)
    x0, x1 = np.take_along_axis(ranked, left, axis=-1), np.take_along_axis(ranked, right, axis=-1)
    y0, y1 = np.take_along_axis(mid, left, axis=-1), np.take_along_axis(mid, right, axis=-1)
    share = np.clip((level - y0) / np.where(y1 > y0, y1 - y0, 1.0), 0.0, 1.0)
    return np.asarray((x0 + (x1 - x0) * share)[..., 0], dtype=np.float64)


FAR_OUT = 5.0
"""A ratio takes no side where it is so many robust standard deviations from the median of its variant's ratios."""

NORMAL_PER_MAD = 1.4826
"""Standard deviation of a normal distribution in its median absolute deviations."""


def sign_test(log_ratios: ArrayLike) -> Floats:
    """Return the two-sided p-value of "the median log ratio is 0".

    The sign test over rounds (Dixon and Mood 1946, "The statistical sign test") is exact whatever the noise looks like,
    also far out in the tails that many variants ask for, where a bootstrap over tens of rounds claims too much.

    A ratio far from all others of its variant takes no side: it tells on which of two blocks a burst of other work
    fell. Of two copies it falls on either as often, so that the test stays what it is, and of a variant that is a
    little faster nothing is lost to bursts that would outvote it.

    Args:
        log_ratios: shape (…, rounds, neighbours); a round whose ratios disagree speaks for neither side.
    """
    ratios = np.asarray(log_ratios, dtype=np.float64)
    distances = np.abs(ratios - np.median(ratios, axis=(-2, -1), keepdims=True))
    deviation = NORMAL_PER_MAD * np.median(distances, axis=(-2, -1), keepdims=True)
    # Where more than half are equal, there is no measure of what is far.
    far = (distances > FAR_OUT * deviation) & (deviation > 0)
    sides = np.where(far, 0.0, np.sign(ratios)).sum(axis=-1)
    above, below = (sides > 0).sum(axis=-1), (sides < 0).sum(axis=-1)
    return np.asarray(
        np.minimum(1.0, 2 * bdtr(np.minimum(above, below).astype(float), above + below, 0.5)), dtype=np.float64
    )


def is_precise(estimate: Estimate, precision: float) -> NDArray[np.bool_]:
    """Return whether every variant (last dimension) has an interval of less than ``precision`` to either side."""
    return np.asarray(((estimate.high - estimate.low) / 2 < precision).all(axis=-1))


class LogRatio(NamedTuple):
    """The logarithm of a ratio, the variance of its estimate, and that variance's degrees of freedom."""

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
