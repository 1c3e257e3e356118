"""What processes that timed the same networks say about their speedups.

A latency differs from itself from one process to the next, by how memory happens to be laid out and by what the machine
does meanwhile, and no number of rounds within a process averages that out. So the process is the unit of everything
here (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time": the highest level of repetition bounds the
precision): each has one speedup for each network, and Student's t over processes gives the interval.

Intervals hold for all networks of a session together (Bonferroni), so that one may look at any of them, the largest
included. A session looks once whether all of them are narrow enough to stop early. It looks at widths only, never at
where intervals lie; asymptotically such a rule costs no coverage (Chow and Robbins 1965, "On the asymptotic theory of
fixed-width sequential confidence intervals for the mean"). At six processes it costs about half a point, for an
interval may be narrow by luck: ``STOPPING_RESERVE`` keeps that back.

Everything is a pure function of arrays and works on many networks, or many sessions, at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from sparsebench.statistics.verdicts import ERROR_LEVEL

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """Mean log speedups with their intervals, and p-values of "it lies inside the band"; arrays of the same shape."""

    centre: Floats
    low: Floats
    high: Floats
    p_value: Floats


def within_process(log_latencies: ArrayLike, references: Sequence[int]) -> Floats:
    """Return the log speedups that one process gives: of each network, the mean over references of paired medians.

    A network and one reference are compared round by round, and the median over rounds is taken: what slows a whole
    round counts with neither, and a burst of other work that falls on a block counts little. Of two copies either is
    the slower as often, so that the median of their differences is 0, whatever the noise looks like; that of the
    difference from the mean of several copies is not, for a burst falls on one of several more often than on one.
    A reference is compared with the other ones, so that it is no part of what it is compared with.

    Args:
        log_latencies: shape (…, rounds, networks), one block of each network in each round.
        references: numbers of the networks to compare with: the baseline's copies.

    Returns:
        Shape (…, networks); above 0 is faster. That of a single reference beside itself is 0.
    """
    logs = np.asarray(log_latencies, dtype=np.float64)
    total = np.zeros(logs.shape[:-2] + logs.shape[-1:])
    for reference in references:
        total += np.median(logs[..., [reference]] - logs, axis=-2)
    counts = np.full(logs.shape[-1], float(len(references)))
    counts[list(references)] = max(len(references) - 1, 1)
    return np.asarray(total / counts)


def over_processes(log_speedups: ArrayLike, networks: int, band: float, error: float = ERROR_LEVEL) -> Estimate:
    """Return the mean over processes and its interval, one of those that hold for so many networks together.

    Formula: mean ± t · s / √G, with s the standard deviation over G processes and t the quantile of Student's t with
    G − 1 degrees of freedom at 1 − error / (2 · networks). The p-value is that of "the difference lies inside the
    band", adjusted for the number of networks (Bonferroni), so that it is below ``error`` where the interval lies
    beyond the band, and only there.

    Args:
        log_speedups: shape (…, processes), at least one process; with one there is no interval.
        networks: intervals that shall hold together, at least 1.
        band: differences up to this fraction do not matter.
        error: share of sessions in which any of these intervals may miss the truth.
    """
    logs = np.asarray(log_speedups, dtype=np.float64)
    count = logs.shape[-1]
    if count < 2:
        return _estimate(logs.mean(axis=-1), np.full(logs.shape[:-1], np.inf), 1, networks, band, error)
    deviation = logs.std(axis=-1, ddof=1) / np.sqrt(count)
    return _estimate(logs.mean(axis=-1), deviation, count - 1, networks, band, error)


def of_copies(log_speedups: ArrayLike, band: float, error: float = ERROR_LEVEL) -> Estimate:
    """Return the same for copies of one network, each beside the mean of the others; their intervals hold together.

    Copies differ by chance alone, so that they have one standard deviation: that of C copies in G processes has
    (C − 1) · (G − 1) degrees of freedom, as the residuals of a two-way layout without replication (Scheffé 1959, "The
    analysis of variance", chapter 4).

    Args:
        log_speedups: shape (…, copies, processes), from ``within_process``.
        band: differences up to this fraction do not matter.
        error: share of sessions in which any of these intervals may miss the truth.
    """
    logs = np.asarray(log_speedups, dtype=np.float64)
    copies, count = logs.shape[-2:]
    if count < 2:
        return over_processes(logs, copies, band, error)
    pooled = np.sqrt(logs.var(axis=-1, ddof=1).mean(axis=-1, keepdims=True) / count)
    deviation = np.broadcast_to(pooled, logs.shape[:-1])
    return _estimate(logs.mean(axis=-1), deviation, (copies - 1) * (count - 1), copies, band, error)


def _estimate(centre: Floats, deviation: Floats, freedom: int, networks: int, band: float, error: float) -> Estimate:
    reach = np.where(deviation > 0, stdtrit(freedom, 1 - error / (2 * networks)) * deviation, 0.0)
    beyond = np.asarray(np.abs(centre) - np.log1p(band))  # Of a single network it would be a number.
    # Without any spread, as a clock that stands still gives it, the sign decides.
    sure = np.asarray(np.copysign(np.full_like(beyond, np.inf), beyond))
    scores = np.divide(beyond, deviation, out=sure, where=deviation > 0)
    p_value = np.minimum(1.0, 2 * networks * stdtr(freedom, -scores))
    return Estimate(centre, centre - reach, centre + reach, np.asarray(p_value))


def resolution(half_width: float, band: float) -> float:
    """Return the smallest difference, as a fraction, that an interval of this half-width (in log units) would call."""
    return float(np.expm1(np.log1p(band) + half_width))
