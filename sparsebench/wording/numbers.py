"""How numbers are printed: a dash for what is not known, a true minus sign, never ``-0.00``."""

import math

from sparsebench.statistics.spread import Spread

DASH = "–"


def decimal(value: float | None, digits: int = 2) -> str:
    """Return ``value`` with a fixed number of decimals and separated thousands."""
    if value is None:
        return DASH
    rounded = round(value, digits) + 0.0  # turns -0.0 into 0.0
    return f"{rounded:,.{digits}f}".replace("-", "−")


def significant(value: float | None, digits: int = 3) -> str:
    """Return ``value`` with at least ``digits`` significant digits and never an exponent."""
    if value is None:
        return DASH
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return decimal(value, max(0, digits - 1 - magnitude))


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction in percent, without the sign."""
    return decimal(None if fraction is None else 100.0 * fraction, digits)


def kilobytes(size_bytes: float | None) -> str:
    """Return bytes as kB of 1000 bytes, with three significant digits or more."""
    return significant(None if size_bytes is None else size_bytes / 1000.0)


def ratio(value: float | None) -> str:
    """Return a ratio as ``2.50×``."""
    return DASH if value is None else f"{significant(value)}×"


def mean_percent(spread: Spread | None) -> str:
    """Return mean ± sample standard deviation of fractions, in percent; the deviation of one value is a dash."""
    return DASH if spread is None else f"{percent(spread.mean)} ± {percent(spread.std)}"


def limits(low: float, high: float, digits: int = 2) -> str:
    """Return an interval as ``[low, high]``."""
    return f"[{decimal(low, digits)}, {decimal(high, digits)}]"
