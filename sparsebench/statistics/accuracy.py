"""How sure an accuracy is, from counts of test samples."""

import math
from statistics import NormalDist

from scipy.special import ndtri

from sparsebench.errors import DataError, SparsebenchError

Z = NormalDist().inv_cdf(0.975)
"""Standard normal quantile of a two-sided 95 % interval."""


def wilson_interval(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion, without continuity correction.

    It keeps its level near 0 and 1 and for few samples, where the usual normal interval does not.
    Source: E. B. Wilson, JASA 22 (1927) 209–212; method 3 of R. G. Newcombe, Statistics in Medicine 17 (1998) 857–872.

    Args:
        correct: number of samples classified rightly, 0 to ``total``.
        total: number of samples, at least 1.
        level: confidence level, strictly between 0 and 1.

    Returns:
        Lower and upper end, each in [0, 1].

    Raises:
        DataError: where there is no sample, or ``correct`` does not lie within 0 and ``total``.
        SparsebenchError: where ``level`` is out of range.
    """
    if total < 1:
        raise DataError("There is no sample to score; the split is empty. Give it at least one sample.")
    if not 0 <= correct <= total:
        raise DataError(f"{correct} of {total} samples cannot be right; the number must lie within 0 and {total}.")
    if not 0 < level < 1:
        raise SparsebenchError(f"A confidence level of {level!r} is not possible; give one between 0 and 1, like 0.95.")
    z = float(ndtri((1 + level) / 2))
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # The ends are exact there, but rounding would leave 1e-17 instead of 0.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == total else min(1.0, centre + half)
    return low, high
