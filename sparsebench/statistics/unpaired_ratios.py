"""How a latency ratio changed between sessions that share no rounds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from sparsebench.statistics.accuracy import Z
from sparsebench.statistics.verdicts import LEVEL


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
