"""Values over seeds: how many, their mean and their sample standard deviation."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass


def known(values: Iterable[float | None]) -> list[float]:
    """Return the values that are there and finite."""
    return [value for value in values if value is not None and math.isfinite(value)]


@dataclass(frozen=True)
class Spread:
    """``n`` values, their mean and their sample standard deviation (n − 1 in the denominator), None for one value."""

    n: int
    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """Return the spread of the values that are there and finite, or None where there are none."""
        found = known(values)
        centre = mean(found)
        if centre is None:
            return None
        squares = math.fsum((value - centre) ** 2 for value in found)
        return cls(len(found), centre, math.sqrt(squares / (len(found) - 1)) if len(found) > 1 else None)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the arithmetic mean of the values that are there, or None."""
    found = known(values)
    return statistics.fmean(found) if found else None


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Return the geometric mean of the positive values that are there, or None.

    Ratios are averaged so because the result does not depend on which side is the denominator (Fleming and Wallace
    1986, "How not to lie with statistics").
    """
    found = [value for value in known(values) if value > 0]
    return statistics.geometric_mean(found) if found else None
