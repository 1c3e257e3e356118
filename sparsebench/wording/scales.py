"""Values of metrics and what is lost of them, as people read and write them."""

import math

from sparsebench.statistics.spread import Spread
from sparsebench.store.scales import Scale
from sparsebench.wording.numbers import DASH, POINTS, Dimension, decimal, limits, significant

_DIGITS = 4
_OF_A_LOSS = 3


def value_number(scale: Scale, value: float | None) -> str:
    """Return a value without its unit: of a share its percent."""
    if value is None or not math.isfinite(value):
        return DASH
    read = scale.factor * value
    return significant(read, _DIGITS) if scale.digits is None else decimal(read, scale.digits)


def value_text(scale: Scale, value: float | None) -> str:
    """Return a value with its unit: ``95.00 %``, ``43.26 mm``."""
    unit = value_unit(scale)
    number = value_number(scale, value)
    return number if number == DASH or not unit else f"{number} {unit}"


def value_unit(scale: Scale) -> str:
    """Return the unit of a value as it is read; may be empty."""
    return "%" if scale.share else scale.unit


def spread_number(scale: Scale, spread: Spread | None) -> str:
    """Return mean ± sample standard deviation of values; one value alone has no deviation."""
    if spread is None:
        return DASH
    mean = value_number(scale, spread.mean)
    if spread.std is None:
        return mean
    read = scale.factor * spread.std
    return f"{mean} ± {significant(read, 2) if scale.digits is None else decimal(read, scale.digits)}"


def loss_number(scale: Scale, loss: float | None, within: tuple[float, float] | None = None) -> str:
    """Return a loss without its unit, with as many decimals as its limits have where it has some."""
    if loss is None or not math.isfinite(loss):
        return DASH
    if scale.digits is None and within is None:
        return significant(loss, _OF_A_LOSS)
    return decimal(loss, _decimals(scale, *within) if within else scale.digits or 0)


def loss_limits(scale: Scale, low: float, high: float) -> str:
    """Return an interval of a loss, without its unit."""
    return limits(low, high, _decimals(scale, low, high))


def _decimals(scale: Scale, low: float, high: float) -> int:
    """Return the decimals of limits: those of the scale, or as many as tell half their distance to two digits."""
    if scale.digits is not None:
        return scale.digits
    half = (high - low) / 2
    if not math.isfinite(half):
        return _OF_A_LOSS
    size = half or max(abs(low), abs(high))
    return min(12, max(0, 1 - math.floor(math.log10(size)))) if size else 0


def with_unit(scale: Scale, number: str) -> str:
    """Return a loss, or limits of one, with its unit: ``1.00 pp``, ``0.350 mm``."""
    return f"{number} {scale.loss_unit}" if scale.loss_unit else number


def points_of(scale: Scale) -> str:
    """Return what losses are counted in, in words: ``percentage points of top-1``, ``mm of MAE``."""
    unit = "percentage points" if scale.share else scale.unit
    return f"{unit} of {scale.short}" if unit else scale.short


def heading(scale: Scale) -> str:
    """Return the heading of a column of values: ``top-1 %``, ``MAE, mm``."""
    if scale.share:
        return f"{scale.short} %"
    return f"{scale.short}, {scale.unit}" if scale.unit else scale.short


def loss_dimension(scale: Scale) -> Dimension:
    """Return of what dimension a limit on a loss is: percentage points of shares, otherwise the unit of the metric."""
    if scale.share:
        return POINTS
    units = {"": 1.0} | ({scale.unit: 1.0} if scale.unit else {})
    example = f"0.05{scale.unit}"
    hint = f"It is in the unit of {scale.title}{f', {scale.unit}' if scale.unit else ', which has none'}."
    return Dimension(f"a loss of {scale.title}", units, example, hint)


def in_points(scale: Scale, loss: float, within: tuple[float, float] | None = None) -> str:
    """Return a loss as sentences have it: ``1.00 points`` of shares, ``0.350 mm``."""
    number = loss_number(scale, loss, within)
    return f"{number} points" if scale.share else with_unit(scale, number)


def lost_words(scale: Scale) -> str:
    """Return what a loss is counted in and which way, before what it is against: ``mm of MAE above``."""
    return f"{points_of(scale)} {'below' if scale.higher_is_better else 'above'}"


def subject_of(scale: Scale) -> str:
    """Return the metric as a sentence begins: ``Accuracy``, ``Mean absolute error``."""
    title = "accuracy" if scale.is_accuracy else scale.title
    return f"{title[:1].upper()}{title[1:]}"
