"""How sure a difference between networks is: over other test samples, and over other trainings as well.

What is drawn at random differs, and so do the intervals. For *these networks* only the test samples are. For *another
training* the trainings are, too: the samples are crossed with the seeds, and each has its effect and their combination
a third (the two-way random effects model; Scheffé 1959, "The analysis of variance", chapter 7; Owen and Eckles 2012,
"Bootstrapping data arrays of arbitrary order", for tables of this very kind).

Everything is a pure function of arrays and works on many tables at once.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtr, ndtri, stdtr, stdtrit

from sparsebench.statistics.verdicts import LEVEL

Floats = NDArray[np.float64]

_STEPS = 8
"""Steps that find a p-value: each doubles its digits, or halves what is left."""


class Estimate(NamedTuple):
    """A difference with what its error is made of; numbers, or arrays of the same shape.

    Attributes:
        centre: middle of the interval.
        variance: that over other test samples, for these networks; its error is normal.
        shared: the part of it that all trainings have in common.
        spread: variance of the mean over seeds, which is estimated from a few trainings.
        freedom: degrees of freedom of the spread; 0 where trainings are not drawn, so that ``variance`` is all.
    """

    centre: Floats | float
    variance: Floats | float
    shared: Floats | float
    spread: Floats | float
    freedom: int

    def reach(self, error: float = LEVEL) -> Floats:
        """Return the half-width of the interval that misses the truth so often.

        What all trainings share has a half-width of its own, normal, and the spread over seeds another, Student's t;
        their squares add up ("MOVER": Howe 1974; Zou and Donner 2008, "Construction of confidence limits about effect
        measures"). The usual way, one t with the degrees of freedom of Satterthwaite 1946, misses too often at three
        seeds, for it believes a spread that came out small by luck. Where it did, the interval is not narrower than
        that for these networks.
        """
        z, reach = ndtri(1 - error / 2), np.sqrt(self.variance) * ndtri(1 - error / 2)
        if self.freedom:
            t = stdtrit(self.freedom, 1 - error / 2)
            reach = np.maximum(reach, np.sqrt(z**2 * self.shared + t**2 * self.spread))
        return np.asarray(reach)

    def limits(self, error: float = LEVEL) -> tuple[Floats, Floats]:
        """Return the lower and the upper limit."""
        reach = self.reach(error)
        return np.asarray(self.centre - reach), np.asarray(self.centre + reach)

    def p_value(self) -> Floats:
        """Return the two-sided p-value of "there is no difference".

        It is the error at which the interval ends at 0, so that it is at most 5 % where the 95 % interval leaves 0 out,
        and only there.
        """
        distance = np.abs(self.centre)
        p = 2 * ndtr(-_quotient(distance, np.sqrt(self.variance)))
        if self.freedom:
            with np.errstate(invalid="ignore"):
                over_trainings = 2 * stdtr(self.freedom, -self._deviations(distance))
            # Where nothing is known, nothing is proved.
            p = np.maximum(p, np.where(np.isfinite(self.variance), over_trainings, 1.0))
        # Rounding must not set the two against each other.
        above = np.maximum(np.minimum(p, 1.0), np.nextafter(LEVEL, 1))
        return np.asarray(np.where(distance > self.reach(), np.minimum(p, LEVEL), above))

    def _deviations(self, distance: Floats) -> Floats:
        """Return t with t² spread + z² shared = distance², where the chance beyond z is the chance beyond t."""
        low = _quotient(distance, np.sqrt(self.shared + self.spread))  # z is never above t.
        high = np.maximum(_quotient(distance, np.sqrt(self.spread)), low)
        low, high, goal = np.log(low + _LEAST), np.log(high + _LEAST), np.log(distance + _LEAST)
        at = low
        for _ in range(_STEPS):
            t = np.exp(at)
            z = -ndtri(np.maximum(stdtr(self.freedom, -t), _LEAST))
            square = t**2 * self.spread + z**2 * self.shared + _LEAST
            missing = goal - np.log(square) / 2
            low, high = np.where(missing > 0, at, low), np.where(missing > 0, high, at)
            # Newton's step, where it stays between what was too little and what was too much.
            slope = t * (t * self.spread + z * self.shared * self._slope(t, z)) / square
            step = at + missing / np.maximum(slope, _LEAST)
            at = np.where((step >= low) & (step <= high), step, (low + high) / 2)
        return np.asarray(np.exp(at))

    def _slope(self, t: Floats, z: Floats) -> Floats:
        """Return how fast z grows with t: the density of Student's t over that of the normal distribution."""
        nu = self.freedom
        log_constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - np.log(nu / 2) / 2
        return np.asarray(np.exp(log_constant - (nu + 1) / 2 * np.log1p(t**2 / nu) + np.minimum(z**2, 1400) / 2))


_FAR = 1e6
"""Deviations beyond which nothing is told apart any more."""

_LEAST = 1e-300
"""The smallest chance that has a normal quantile."""


def _quotient(distance: Floats, deviation: Floats) -> Floats:
    """Return distance / deviation, which is far without any deviation."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, np.minimum(distance / deviation, _FAR))


def of_these(samples: int, total: Floats | float, squares: Floats | float) -> Estimate:
    """Return what ``paired`` does for these networks, from the sum over samples of their means, and of the squares."""
    centre = total / (samples + 2)
    variance = (squares + 2 - (samples + 2) * centre**2) / (samples + 2) ** 2  # At least 2 / (samples + 2)².
    return Estimate(centre, variance, variance, centre * 0, 0)


def paired(samples: int, sums: ArrayLike, products: ArrayLike, sides: int = 1) -> tuple[Estimate, Estimate | None]:
    """Return a mean difference for these networks and for another training, from networks that read the same samples.

    A column holds a whole number for each sample: right before − right after of one seed; or, with two sides, whether
    it is right, first of all seeds before and then of all seeds after, whose trainings have nothing in common.

    For these networks the interval is that of Bonett and Price 2012, "Adjusted Wald confidence interval for a
    difference of binomial proportions based on paired data", applied to the mean over seeds of each sample: two samples
    are added, one that was lost and one that was gained, and the normal interval of the mean is taken. Of one seed it
    is their interval of the fourfold table; Fagerland, Lydersen and Laake 2014 recommend it.

    For another training the variance is σ²(samples) / n + (σ²(seeds) + σ²(both together) / n) / S. The second part is
    the spread over seeds and has Student's t; the first is what is left of the variance over samples.

    Args:
        samples: n, at least 1.
        sums: sum of each column; shape (…, columns).
        products: sums over samples of the products of any two columns; shape (…, columns, columns).
        sides: 1, or 2 for columns of two sets of trainings, which must be equally many.

    Returns:
        Both estimates as fractions; the second is None where a side has one column.
    """
    total, gram = np.asarray(sums, dtype=np.float64), np.asarray(products, dtype=np.float64)
    seeds = total.shape[-1] // sides
    weights = np.repeat([1.0, -1.0][:sides], seeds) / seeds
    these = of_these(samples, total @ weights, np.einsum("...ij,i,j", gram, weights, weights))
    if seeds < 2:
        return these, None
    centre, variance, *_ = these
    spread, rest = centre * 0, centre * 0
    for side in range(sides):
        own = slice(side * seeds, (side + 1) * seeds)
        part, means = gram[..., own, own], total[..., own] / samples
        between = ((means - means.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
        spread = spread + between / (seeds - 1) / seeds
        within = np.einsum("...ii", part) - part.sum(axis=(-2, -1)) / seeds - samples * between
        rest = rest + np.maximum(within, 0.0) / (max(samples - 1, 1) * (seeds - 1)) / (samples * seeds)
    return these, Estimate(centre, variance, np.maximum(variance - rest, 0.0), spread, sides * (seeds - 1))


def unpaired(right: ArrayLike, samples: ArrayLike, signs: ArrayLike) -> Estimate:
    """Return a difference of shares of independent samples, or a sum of such differences.

    Two samples are added to each share, one right and one wrong (Agresti and Caffo 2000, "Simple and effective
    confidence intervals for proportions and differences of proportions result from adding two successes and two
    failures").

    Args:
        right: samples classified rightly, of each network; shape (networks,).
        samples: samples that each read.
        signs: 1 or −1 for each.
    """
    read = np.asarray(samples, dtype=np.float64) + 2
    shares = (np.asarray(right, dtype=np.float64) + 1) / read
    centre = np.asarray(shares @ np.asarray(signs, dtype=np.float64))
    variance = np.asarray((shares * (1 - shares) / read).sum())
    return Estimate(centre, variance, variance, centre * 0, 0)


def averaged(by_seed: list[Estimate], sides: ArrayLike) -> tuple[Estimate, Estimate | None]:
    """Return the mean over seeds where it is not known which samples the seeds share.

    They may have read the same ones, so that more seeds do not make the part that is due to samples any smaller.

    Args:
        by_seed: one for each seed.
        sides: what spreads over seeds: the differences, shape (1, seeds), or what they are of, shape (2, seeds).
    """
    values = np.asarray(sides, dtype=np.float64)
    centre = np.asarray(np.mean([np.asarray(one.centre) for one in by_seed], axis=0))
    variance = np.asarray(np.mean([np.asarray(one.variance) for one in by_seed], axis=0))
    these = Estimate(centre, variance, variance, centre * 0, 0)
    seeds = values.shape[-1]
    if seeds < 2:
        return these, None
    spread = np.asarray(values.var(axis=-1, ddof=1).sum() / seeds)
    return these, Estimate(centre, variance, variance, spread, len(values) * (seeds - 1))


def from_samples(values: ArrayLike, sides: int = 1) -> tuple[Estimate, Estimate | None]:
    """Return what ``paired`` does of any numbers: the means of columns are compared over the samples.

    The interval for these networks is Student's of a mean. One column alone is a mean with its interval.

    Args:
        values: a number for each sample and column; shape (samples, columns), columns as in ``paired``.
        sides: as in ``paired``.
    """
    table = np.asarray(values, dtype=np.float64)
    samples = len(table)
    if samples < 2:  # One sample says nothing of others.
        seeds = table.shape[1] // sides
        centre = np.asarray(table[0] @ np.repeat([1.0, -1.0][:sides], seeds) / seeds)
        unknown = np.asarray(np.inf if table.any() else 0.0)
        return Estimate(centre, unknown, unknown, centre * 0, 0), None
    means = table.mean(axis=0)
    centred = table - means
    covariance = centred.T @ centred / (samples - 1) / samples
    # Intervals are z deviations wide; with so much more of it they are as wide as Student's at the usual level.
    wider = (stdtrit(samples - 1, 1 - LEVEL / 2) / ndtri(1 - LEVEL / 2)) ** 2
    return from_covariance(means, covariance * wider, sides)


def from_replicates(values: ArrayLike, replicates: ArrayLike, sides: int = 1) -> tuple[Estimate, Estimate | None]:
    """Return what ``paired`` does of metrics that are no means, from their values over the same bootstrap resamples.

    The spread over resamples stands for that over other samples (Efron and Tibshirani 1993, "An introduction to the
    bootstrap", chapter 6): columns that move together have a difference that is known better than either.

    Args:
        values: the metric of each column; shape (columns,), columns as in ``paired``.
        replicates: the same over each resample; shape (resamples, columns).
        sides: as in ``paired``.
    """
    table = np.asarray(replicates, dtype=np.float64)
    centred = table - table.mean(axis=0)
    return from_covariance(values, centred.T @ centred / max(1, len(table) - 1), sides)


def from_covariance(values: ArrayLike, covariance: ArrayLike, sides: int = 1) -> tuple[Estimate, Estimate | None]:
    """Return what ``paired`` does, from columns and how they vary together over other samples.

    Args:
        values: of each column; shape (columns,), columns as in ``paired``.
        covariance: of them; shape (columns, columns).
        sides: as in ``paired``.
    """
    means, table = np.asarray(values, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    seeds = len(means) // sides
    weights = np.repeat([1.0, -1.0][:sides], seeds) / seeds
    centre = np.asarray(means @ weights)
    # Rounding may leave less than nothing.
    variance = np.maximum(np.asarray(weights @ table @ weights), 0.0)
    these = Estimate(centre, variance, variance, centre * 0, 0)
    if seeds < 2:
        return these, None
    spread, rest = centre * 0, centre * 0
    for side in range(sides):
        own = slice(side * seeds, (side + 1) * seeds)
        spread = spread + means[own].var(ddof=1) / seeds
        alone = np.trace(table[own, own]) - table[own, own].sum() / seeds
        rest = rest + max(float(alone), 0.0) / (seeds - 1) / seeds
    return these, Estimate(centre, variance, np.maximum(variance - rest, 0.0), spread, sides * (seeds - 1))


def of_independent(values: ArrayLike, variances: ArrayLike, signs: ArrayLike) -> Estimate:
    """Return a difference of metrics over independent samples, or a sum of such differences.

    Args:
        values: the metric of each network; shape (networks,).
        variances: that of each over other samples; infinite where it is not known.
        signs: 1 or −1 for each.
    """
    centre = np.asarray(np.asarray(values, dtype=np.float64) @ np.asarray(signs, dtype=np.float64))
    variance = np.asarray(np.asarray(variances, dtype=np.float64).sum())
    return Estimate(centre, variance, variance, centre * 0, 0)


def variance_of(low: float | None, high: float | None) -> float:
    """Return the variance that makes a 95 % interval of a normal error; infinite where there is no interval."""
    if low is None or high is None:
        return float("inf")
    return float(((high - low) / 2 / ndtri(1 - LEVEL / 2)) ** 2)
