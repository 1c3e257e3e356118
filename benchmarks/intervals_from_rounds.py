"""Intervals from rounds: what is common elsewhere, and was done here before; the yardstick of simulated sessions.

One baseline, loaded first in every process, has blocks at the begin and the end of each round and between. A variant's
block is compared with the baseline's before it and after it. The interval is that of a bootstrap of the median over
whole rounds within each process, for one variant at a time. FASTER and SLOWER come from a sign test over rounds against
"no difference", adjusted for all variants (Holm 1979). What a process does to a network is in no interval.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, ndtri, stdtrit

from sparsebench.statistics.processes import Estimate
from sparsebench.statistics.verdicts import ERROR_LEVEL, holm

Floats = NDArray[np.float64]

SEGMENT = 6
"""At most so many variants stand between two blocks of the baseline."""

LEVEL = 0.01
"""Share of sessions in which a FASTER or SLOWER may be wrong, as the sign test takes it."""

FAR_OUT = 5.0
"""A ratio takes no side where it is so many robust standard deviations from the median of its variant's ratios."""

NORMAL_PER_MAD = 1.4826


def pattern(items: int) -> NDArray[np.bool_]:
    """Return which blocks of a round are the baseline's, of so many variants with the control."""
    count = max(2, -(-items // SEGMENT))
    found = [True]
    for place in range(count):
        found += [False] * (items // count + (place < items % count)) + [True]
    return np.array(found)


def log_ratios(logs: Floats, pattern: NDArray[np.bool_], random: np.random.Generator) -> Floats:
    """Return the log latency of each item, in a random order in each round, minus the baseline's before and after it.

    Args:
        logs: shape (…, rounds, blocks), in their order in time.
        pattern: which blocks are the baseline's.
        random: draws the order.

    Returns:
        Shape (…, rounds, items, 2).
    """
    places, slots = np.flatnonzero(pattern), np.flatnonzero(~pattern)
    after = np.searchsorted(places, slots)
    around = np.stack([logs[..., places[after - 1]], logs[..., places[after]]], axis=-1)
    paired = logs[..., slots, None] - around
    order = random.random(paired.shape[:-1]).argsort(axis=-1)
    return np.take_along_axis(paired, order[..., None], axis=-2)


def median_interval(ratios: Floats) -> Estimate:
    """Return the median over rounds with the limits of a bootstrap over whole rounds within each process.

    How many ratios of a bootstrap sample lie at or below a value is a sum over rounds; it is taken as normal (Woodruff
    1952, "Confidence intervals for medians and other position measures"). The tails are expanded as few rounds ask for
    (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3).

    Args:
        ratios: shape (…, processes, rounds, 2).
    """
    processes, rounds = ratios.shape[-3:-1]
    flat = np.sort(ratios.reshape(*ratios.shape[:-3], -1), axis=-1)
    total = flat.shape[-1]
    centre = (flat[..., (total - 1) // 2] + flat[..., total // 2]) / 2
    counts = (ratios <= centre[..., None, None, None]).sum(axis=-1)
    deviation = np.sqrt(counts.var(axis=-1).sum(axis=-1) * rounds)
    freedom = processes * (rounds - 1)
    tail = ndtr(stdtrit(freedom, ERROR_LEVEL / 2) * np.sqrt(processes * rounds / freedom))
    reach = -ndtri(tail) * deviation
    low, high = (_at(flat, total / 2 + side * reach - 0.5) for side in (-1, 1))
    return Estimate(centre, low, high, np.zeros_like(centre))


def _at(ranked: Floats, place: Floats) -> Floats:
    """Return ranked values at places from 0, linear between them."""
    place = np.clip(place, 0, ranked.shape[-1] - 1)[..., None]
    left = np.minimum(np.floor(place).astype(int), ranked.shape[-1] - 2)
    low, high = np.take_along_axis(ranked, left, axis=-1), np.take_along_axis(ranked, left + 1, axis=-1)
    return np.asarray((low + (high - low) * (place - left))[..., 0])


class Signs:
    """The sign test of log speedups of shape (sessions, variants, processes, rounds, 2), whatever they are moved by."""

    def __init__(self, ratios: Floats) -> None:
        self._ratios = ratios.reshape(*ratios.shape[:2], -1, 2)
        distances = np.abs(self._ratios - np.median(self._ratios, axis=(-2, -1), keepdims=True))
        deviation = NORMAL_PER_MAD * np.median(distances, axis=(-2, -1), keepdims=True)
        self._near = distances <= FAR_OUT * deviation

    def p_values(self, shift: float) -> Floats:
        """Return p-values of "no difference", adjusted for all variants, where a shift is added to the log speedups."""
        sides = (np.sign(self._ratios + shift) * self._near).sum(axis=-1)
        above, below = (sides > 0).sum(axis=-1), (sides < 0).sum(axis=-1)
        fewer = np.minimum(above, below).astype(float)
        return holm(np.minimum(1.0, 2 * bdtr(fewer, above + below, 0.5)))


def called(found: Estimate, p_values: Floats, band: float) -> tuple[NDArray[np.bool_], ...]:
    """Return which variants are FASTER, SLOWER and EQUIVALENT.

    FASTER and SLOWER need a median beyond the band, an interval that excludes 0 and a p-value that stands among all
    variants; the interval may reach into the band.
    """
    edge = np.log1p(band)
    equivalent = (found.low >= -edge) & (found.high <= edge)
    decided = ~equivalent & (np.abs(found.centre) >= edge) & (p_values <= LEVEL)
    return decided & (found.low > 0), decided & (found.high < 0), equivalent
