"""How a speedup changed between sessions that share no rounds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from sparsebench.statistics.processes import freedom_of, mean_and_variance
from sparsebench.statistics.verdicts import FARTHEST, LEVEL


class LogRatio(NamedTuple):
    """The logarithm of a speedup, the variance of its estimate, and that variance's degrees of freedom."""

    log_ratio: float
    variance: float
    freedom: float


def log_ratio(by_process: Sequence[float], weights: Sequence[float] = ()) -> LogRatio | None:
    """Return the speedup of a session with the variance that it has from session to session.

    Processes are what counts as drawn at random: the variance is that of ``sparsebench.statistics.processes``, of the
    logarithms of the speedups within each process.

    Args:
        by_process: the speedup within each process.
        weights: what each of them counts for; all alike by default.

    Returns:
        None for fewer than two processes, or where one speedup is not above 0.
    """
    if len(by_process) < 2 or min(by_process) <= 0:
        return None
    shares = weights or [1 / len(by_process)] * len(by_process)
    centre, variance = mean_and_variance(np.log(by_process), shares)
    return LogRatio(float(centre), float(variance), float(freedom_of(shares)))


class RatioChange(NamedTuple):
    """A ratio after, divided by the ratio before: with its 95 % limits and the adjusted p-value of "it is 1"."""

    ratio: float
    low: float
    high: float
    p_value: float


def unpaired_change(before: Sequence[LogRatio], after: Sequence[LogRatio], tests: int = 1) -> RatioChange:
    """Return how ratios changed from sessions to other sessions, which share no rounds.

    Formula: mean(log after) − mean(log before) ± t · √(Σ variances / n²), with the degrees of freedom of Welch 1947,
    "The generalization of 'Student's' problem when several different population variances are involved", in the form of
    Satterthwaite 1946. The quantile is that of 1 − 5 % / (2 · tests) (Bonferroni), and the p-value is adjusted alike:
    it is below 5 % where the interval leaves 1 out, and only there.

    Args:
        before: one for each seed, at least one.
        after: the same seeds in the same order.
        tests: changes that are judged together, whose intervals shall hold together.
    """
    n = len(before)
    shift = math.fsum(one.log_ratio for one in after) / n - math.fsum(one.log_ratio for one in before) / n
    parts = [(one.variance / n**2, one.freedom) for one in (*before, *after)]
    variance = math.fsum(part for part, _ in parts)
    if variance == 0:
        return RatioChange(math.exp(shift), math.exp(shift), math.exp(shift), 1.0 if shift == 0 else 0.0)
    freedom = variance**2 / math.fsum(part**2 / degrees for part, degrees in parts)
    error = math.sqrt(variance)
    reach = float(stdtrit(freedom, 1 - LEVEL / (2 * tests))) * error
    p_value = min(1.0, 2 * tests * float(stdtr(freedom, -abs(shift) / error)))
    low, high = max(shift - reach, -FARTHEST), min(shift + reach, FARTHEST)
    return RatioChange(math.exp(shift), math.exp(low), math.exp(high), p_value)
