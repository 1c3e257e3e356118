"""What is said about a speedup, and about the session that found it, as one reads it off the printed intervals."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
"""Coverage of the intervals shown, optional stopping included."""

LEVEL = 1 - CONFIDENCE
"""Share of families of tests in which something is called changed that is not."""

STOPPING_RESERVE = 0.005
"""Share of wrong intervals kept back for what optional stopping costs; see ``sparsebench.statistics.processes``."""

ERROR_LEVEL = LEVEL - STOPPING_RESERVE
"""Share of sessions in which an interval may be wrong, as it is computed."""


class Verdict(StrEnum):
    """What a session says about one variant against the baseline."""

    FASTER = "FASTER"
    SLOWER = "SLOWER"
    EQUIVALENT = "EQUIVALENT"
    INCONCLUSIVE = "INCONCLUSIVE"
    TOO_FEW_ROUNDS = "TOO FEW ROUNDS"
    BASELINE = "BASELINE"

    @property
    def decided(self) -> bool:
        """Whether it is an answer: one that an interval gave."""
        return self in {Verdict.FASTER, Verdict.SLOWER, Verdict.EQUIVALENT}


class Validity(StrEnum):
    """What the controls of a session, networks that are the same, say about it."""

    VALID = "VALID"
    NOISY = "NOISY"
    INVALID = "INVALID"


class Limits(NamedTuple):
    """The limits of an interval of a speedup."""

    low: float
    high: float

    @classmethod
    def around(cls, intervals: Iterable["Limits"]) -> "Limits":
        """Return the lowest and the highest limit of several intervals, at least one."""
        lows, highs = zip(*intervals, strict=True)
        return cls(min(lows), max(highs))


FARTHEST = 20.0
"""Limits are cut here, in log units: beyond a factor of e²⁰ an interval says nothing, and JSON has no infinity."""


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted so that, over all of them, false findings stay at the level of one test.

    Formula: Holm 1979, "A simple sequentially rejective multiple test procedure"; valid under any dependence.

    Args:
        p_values: shape (…, tests).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, axis=-1)
    factors = np.arange(p.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    return np.take_along_axis(np.minimum(stepped, 1.0), np.argsort(order, axis=-1), axis=-1)


def verdict(low: float, high: float, band: float, *, enough: bool = True) -> Verdict:
    """Return the verdict that a reader of the interval gives.

    FASTER and SLOWER: all of it lies beyond the band. EQUIVALENT: all of it lies inside, so that whatever difference
    there is does not matter; the form in intervals of two one-sided tests (Schuirmann 1987, "A comparison of the two
    one-sided tests procedure and the power approach for assessing the equivalence of average bioavailability").

    The band reaches from 1 / (1 + band) to 1 + band, so that a speedup and its inverse have the same verdict.

    Args:
        low: lower limit of the speedup's interval, baseline latency / latency.
        high: upper limit.
        band: differences up to this fraction do not matter, at or above 0.
        enough: whether as many processes timed as the protocol asks for. Where not, an interval that says nothing is
            TOO FEW ROUNDS.
    """
    if low > 1 + band:
        return Verdict.FASTER
    if high < 1 / (1 + band):
        return Verdict.SLOWER
    if is_inside(Limits(low, high), band):
        return Verdict.EQUIVALENT
    return Verdict.INCONCLUSIVE if enough else Verdict.TOO_FEW_ROUNDS


def is_inside(interval: Limits, band: float) -> bool:
    """Whether all of an interval lies inside the band."""
    return 1 / (1 + band) <= interval.low and interval.high <= 1 + band


def validity(controls: Iterable[Limits], band: float) -> Validity:
    """Return what the intervals of controls say, whose speedups are 1 in truth.

    VALID: all of them lie inside the band, so that the session makes no difference that matters where there is none.
    INVALID: one of them lies outside; it did make one. NOISY: one of them reaches out of it, so that it could have.

    Args:
        controls: at least one interval; without any nothing is known, which is NOISY.
        band: differences up to this fraction do not matter.
    """
    found = list(controls)
    if any(one.low > 1 + band or one.high < 1 / (1 + band) for one in found):
        return Validity.INVALID
    return Validity.VALID if found and all(is_inside(one, band) for one in found) else Validity.NOISY
