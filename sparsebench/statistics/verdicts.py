"""What is said about a latency ratio, with all variants of a comparison in view."""

from enum import StrEnum
from itertools import count

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
"""Coverage of the intervals shown, optional stopping included."""

LEVEL = 1 - CONFIDENCE
"""Share of families of tests in which something is called changed that is not."""

STOPPING_RESERVE = 0.005
"""Share of wrong intervals kept back for what optional stopping costs; see ``sparsebench.statistics.ratios``."""

ERROR_LEVEL = LEVEL - STOPPING_RESERVE
"""Share of intervals that may be wrong at one look."""

VERDICT_LEVEL = 0.01
"""Share of sessions in which a FASTER or SLOWER may be wrong at all: decisions are made by it, and it is not looked at
again, as an interval is."""


def fewest_rounds(networks: int) -> int:
    """Return how many rounds it takes to call one of so many networks FASTER or SLOWER, with one round against it.

    The sign test over n rounds gives 2 (n + 1) / 2ⁿ then, which has to be small enough for the first step of ``holm``.

    Args:
        networks: that are timed together, the baseline among them, at least 1.
    """
    level = VERDICT_LEVEL / max(1, networks - 1)
    return next(rounds for rounds in count(2) if 2 * (rounds + 1) / 2**rounds <= level)


class Verdict(StrEnum):
    """What a session says about one variant against the baseline."""

    FASTER = "FASTER"
    SLOWER = "SLOWER"
    EQUIVALENT = "EQUIVALENT"
    INCONCLUSIVE = "INCONCLUSIVE"
    BASELINE = "BASELINE"


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted so that, over all of them, false findings stay at the level of one test.

    Formula: Holm 1979, "A simple sequentially rejective multiple test procedure"; valid under any dependence, which
    matters because variants share their baseline blocks.

    Args:
        p_values: shape (…, tests).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, axis=-1)
    factors = np.arange(p.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    return np.take_along_axis(np.minimum(stepped, 1.0), np.argsort(order, axis=-1), axis=-1)


def verdict(ratio: float, low: float, high: float, p_adjusted: float, band: float) -> Verdict:
    """Return the verdict on a latency ratio.

    EQUIVALENT comes first: the interval lies inside the band, so that whatever difference there is does not matter. It
    is the confidence-interval form of two one-sided tests (Schuirmann 1987, "A comparison of the two one-sided tests
    procedure and the power approach for assessing the equivalence of average bioavailability"), for one variant at a
    time. FASTER and SLOWER need an interval that excludes 1, a p-value that stands among all variants, and a ratio
    that is itself beyond the band: a difference that is certain, and too small to matter, is nobody's reason to choose.

    Args:
        ratio: latency divided by the baseline's.
        low: lower limit of its interval.
        high: upper limit of its interval.
        p_adjusted: p-value of "no difference", from ``holm``.
        band: differences up to this fraction do not matter, at or above 0.
    """
    if 1 - band <= low and high <= 1 + band:
        return Verdict.EQUIVALENT
    # Written so that a ratio on the edge of the band is beyond it, as the decimals say.
    matters = ratio <= 1 - band or ratio >= 1 + band
    if matters and (low > 1 or high < 1) and p_adjusted <= VERDICT_LEVEL:
        return Verdict.SLOWER if ratio > 1 else Verdict.FASTER
    return Verdict.INCONCLUSIVE


def is_valid(low: float, high: float, band: float) -> bool:
    """Whether the interval of a second copy of the baseline leaves room for a ratio that does not matter.

    Where all of it lies beyond the band, the machine or the protocol made a difference where there is none.
    """
    return low <= 1 + band and high >= 1 - band
