"""What processes that timed the same networks say about their speedups.

A latency differs from itself from one process to the next, by how memory happens to be laid out and by what the machine
does meanwhile, and no number of rounds within a process averages that out. So the process is the unit of everything
here (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time": the highest level of repetition bounds the
precision): each has one speedup for each network, and Student's t over processes gives the interval. Where other work
disturbed a process, its rounds differ more than those of others, and it counts for less.

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


def noise_within(log_latencies: ArrayLike, references: Sequence[int]) -> Floats:
    """Return how much noise the rounds of one process leave in its log speedups, as a variance.

    It is that of the median of the paired differences, from how far the order statistics one standard deviation of a
    binomial rank from the median lie apart (McKean and Schrader 1984, "A comparison of methods for studentizing the
    sample median"), in the mean over all networks and references: one number for the process, so that no network's own
    noise says how much the process counts for it.

    Args:
        log_latencies: shape (…, rounds, networks), one block of each network in each round.
        references: numbers of the networks to compare with: the baseline's copies.

    Returns:
        Shape (…); 0 where there is one round.
    """
    logs = np.asarray(log_latencies, dtype=np.float64)
    rounds, networks = logs.shape[-2:]
    rank = max(round((rounds + 1 - np.sqrt(rounds)) / 2), 1)
    total = np.zeros(logs.shape[:-2])
    for reference in references:
        sides = np.partition(logs[..., [reference]] - logs, (rank - 1, rounds - rank), axis=-2)
        total += (((sides[..., rounds - rank, :] - sides[..., rank - 1, :]) / 2) ** 2).sum(axis=-1)
    return np.asarray(total / (len(references) * max(networks - 1, 1)))


def weights_of(noise: ArrayLike) -> Floats:
    """Return what each process counts for: the inverse of its noise, and that of the median process at most.

    So a disturbed process counts for less, and no process stands above the usual ones: below the median, noise says
    little of how far processes differ from one another.

    Args:
        noise: shape (…, processes), from ``noise_within``.

    Returns:
        The same shape; the sum over processes is 1.
    """
    kept = np.asarray(noise, dtype=np.float64)
    kept = np.maximum(kept, np.median(kept, axis=-1, keepdims=True))
    weights = np.divide(kept.min(axis=-1, keepdims=True), kept, out=np.ones_like(kept), where=kept > 0)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def over_processes(
    log_speedups: ArrayLike,
    networks: int,
    band: float,
    weights: ArrayLike | None = None,
    error: float = ERROR_LEVEL,
) -> Estimate:
    """Return the mean over processes and its interval, one of those that hold for so many networks together.

    Formula: m = Σ w d, with m ± t · √V and V = Σ w² (d − m)² / (1 − w), the variance that holds whatever the weights
    are (HC2 of MacKinnon and White 1985, "Some heteroskedasticity-consistent covariance matrix estimators with improved
    finite sample properties"), and t the quantile of Student's t at 1 − error / (2 · networks) with the degrees of
    freedom that ``freedom_of`` gives. With equal weights it is the mean ± t · s / √G with G − 1 degrees of freedom. The
    p-value is that of "the difference lies inside the band", adjusted for the number of networks (Bonferroni), so that
    it is below ``error`` where the interval lies beyond the band, and only there.

    Args:
        log_speedups: shape (…, processes), at least one process; with one there is no interval.
        networks: intervals that shall hold together, at least 1.
        band: differences up to this fraction do not matter.
        weights: of the processes, from ``weights_of``; they broadcast to the log speedups. Equal ones by default.
        error: share of sessions in which any of these intervals may miss the truth.
    """
    logs = np.asarray(log_speedups, dtype=np.float64)
    if logs.shape[-1] < 2:
        return _estimate(logs.mean(axis=-1), np.full(logs.shape[:-1], np.inf), 1, networks, band, error)
    shares = _shares(weights, logs.shape[-1])
    centre, variance = _weighted(logs, shares)
    return _estimate(centre, np.sqrt(variance), freedom_of(shares), networks, band, error)


def of_copies(
    log_speedups: ArrayLike, band: float, weights: ArrayLike | None = None, error: float = ERROR_LEVEL
) -> Estimate:
    """Return the same for copies of one network, each beside the mean of the others; their intervals hold together.

    Copies differ by chance alone, so that they have one variance: that of C copies in G processes of equal weights has
    (C − 1) · (G − 1) degrees of freedom, as the residuals of a two-way layout without replication (Scheffé 1959, "The
    analysis of variance", chapter 4).

    Args:
        log_speedups: shape (…, copies, processes), from ``within_process``.
        band: differences up to this fraction do not matter.
        weights: as in ``over_processes``.
        error: share of sessions in which any of these intervals may miss the truth.
    """
    logs = np.asarray(log_speedups, dtype=np.float64)
    copies, count = logs.shape[-2:]
    if count < 2:
        return over_processes(logs, copies, band, error=error)
    shares = _shares(weights, count)
    centre, variance = _weighted(logs, shares)
    pooled = np.broadcast_to(variance.mean(axis=-1, keepdims=True), variance.shape)
    return _estimate(centre, np.sqrt(pooled), (copies - 1) * freedom_of(shares), copies, band, error)


def mean_and_variance(log_speedups: ArrayLike, weights: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Return the mean over two processes or more, and the variance of its estimate; see ``over_processes``."""
    logs = np.asarray(log_speedups, dtype=np.float64)
    return _weighted(logs, _shares(weights, logs.shape[-1]))


def freedom_of(weights: ArrayLike) -> Floats:
    """Return the degrees of freedom of a variance over weighted processes: G − 1 where all G of them are equal.

    Formula: (tr A)² / tr A² of the quadratic form (Satterthwaite 1946), where variances go with the inverse of the
    weights; for regressions, Bell and McCaffrey 2002, "Bias reduction in standard errors for linear regression with
    multi-stage samples".

    Args:
        weights: shape (…, processes), two processes or more; the sum over processes is 1.
    """
    shares = np.asarray(weights, dtype=np.float64)
    odds = shares / (1 - shares)
    squares = (shares**2).sum(axis=-1) + (odds * shares).sum(axis=-1) ** 2 - ((odds * shares) ** 2).sum(axis=-1)
    return np.asarray(1 / squares)


def _shares(weights: ArrayLike | None, count: int) -> Floats:
    return np.full(count, 1 / count) if weights is None else np.asarray(weights, dtype=np.float64)


def _weighted(logs: Floats, shares: Floats) -> tuple[Floats, Floats]:
    apart = logs - logs[..., :1]  # So that processes that agree to the last digit have no variance.
    centre = (shares * apart).sum(axis=-1)
    variance = (shares**2 / (1 - shares) * (apart - centre[..., None]) ** 2).sum(axis=-1)
    return np.asarray(logs[..., 0] + centre), np.asarray(variance)


def _estimate(
    centre: Floats, deviation: Floats, freedom: ArrayLike, networks: int, band: float, error: float
) -> Estimate:
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
