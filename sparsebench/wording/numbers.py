"""Numbers and quantities as people read and write them.

Printed numbers have a dash for what is not known, a true minus sign, and never are ``-0.00``. Quantities that are read
have a unit (``0.5pp``, ``100kB``, ``2 ms``).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sparsebench.errors import SparsebenchError
from sparsebench.registry import nearest
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


def rounded_up(value: float, digits: int = 2) -> int:
    """Return a count that is not below ``value``, with so many digits that are not 0."""
    step = 10 ** max(0, math.floor(math.log10(value)) - digits + 1) if value >= 1 else 1
    return math.ceil(value / step) * step


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
    """Return mean ± sample standard deviation of fractions, in percent; one value alone has no deviation."""
    if spread is None:
        return DASH
    return percent(spread.mean) if spread.std is None else f"{percent(spread.mean)} ± {percent(spread.std)}"


def limits(low: float, high: float, digits: int = 2) -> str:
    """Return an interval as ``[low, high]``."""
    return f"[{decimal(low, digits)}, {decimal(high, digits)}]"


_NUMBER_AND_UNIT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\s\d]*)\s*")


@dataclass(frozen=True)
class Dimension:
    """A kind of quantity: its name as it reads after "is", and what each unit is worth in the base unit, which has 1.

    ``example`` is written well; ``hint`` says in a sentence what is often meant and written otherwise.
    """

    name: str
    units: Mapping[str, float]
    example: str
    hint: str = ""


POINTS = Dimension(
    "a difference of fractions",
    {"pp": 1.0},
    "0.5pp",
    "pp are percentage points: 0.5pp is the step from 95.0 % to 94.5 %.",
)
PERCENT = Dimension("a relative change", {"%": 0.01}, "5%")
BYTES = Dimension(
    "a number of bytes",
    {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "100kB",
    "kB are 1000 bytes, KiB 1024.",
)
MILLISECONDS = Dimension("a time", {"ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3, "ns": 1e-6}, "2ms")
COUNT = Dimension("a number", {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}, "5M")


def parse_quantity(text: str, *dimensions: Dimension) -> tuple[float, Dimension]:
    """Return a quantity in the base unit of its dimension, and which of ``dimensions`` it has.

    Args:
        text: a number and a unit, with or without a space between them.
        dimensions: those allowed, at least one.

    Raises:
        SparsebenchError: where it is none of them; a sentence without a full subject, to stand behind what was given
            ("--max-size 100kb").
    """
    examples = " or ".join(dimension.example for dimension in dimensions)
    found = _NUMBER_AND_UNIT.fullmatch(text)
    if found is None:
        comma = " Decimals are written with a point." if re.search(r"\d,\d", text) else ""
        raise SparsebenchError(f"a number and a unit are expected, such as {examples}.{comma}")
    number, unit = float(found[1]), found[2].replace("μ", "µ")
    if not math.isfinite(number):
        raise SparsebenchError(f"{found[1]} is too large for a number.")
    units = {unit: dimension for dimension in dimensions for unit in dimension.units}
    if unit in units:
        return number * units[unit].units[unit], units[unit]
    units.pop("", None)
    hints = "".join(f" {dimension.hint}" for dimension in dimensions if dimension.hint)
    allowed = f"Allowed: {', '.join(units)}, as in {examples}.{hints}"
    if not unit:
        raise SparsebenchError(f"the unit is missing. {allowed}")
    guess = nearest(unit, units)
    suggestion = f" Did you mean {found[1]}{guess}?" if guess else ""
    raise SparsebenchError(f"{unit!r} is no unit of {dimensions[0].name}.{suggestion} {allowed}")
