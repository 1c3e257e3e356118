"""The axes of figures: where they end, and which numbers stand at them."""

import math
from collections.abc import Sequence

from sparsebench.report.figures.chart import Axis, Spot
from sparsebench.store.scales import Scale


def metric_axis(spots: Sequence[Spot], scale: Scale, with_bars: Sequence[Spot] | None = None) -> Axis:
    """Return the axis of a metric: the range of the error bars and some room; of shares hardly beyond 0 and 100.

    ``with_bars`` are the spots that have error bars; all of them where it is None.
    """
    barred = spots if with_bars is None else with_bars
    lows = [*(spot.y for spot in spots), *(spot.low for spot in barred)]
    highs = [*(spot.y for spot in spots), *(spot.high for spot in barred)]
    if scale.share:
        low, high = min(*lows, 100.0), max(*highs, 0.0)
        room = max(0.08 * (high - low), 0.4)
        return Axis(f"{scale.title}, %", (max(-1.0, low - room), min(101.0, high + room)))
    low, high = min(lows), max(highs)
    room = max(0.08 * (high - low), 0.002 * max(abs(low), abs(high)), 1e-9)
    unit = f", {scale.unit}" if scale.unit else ""
    return Axis(f"{scale.title}{unit} ({_BETTER[scale.higher_is_better]})", (low - room, high + room))


_BETTER = {True: "higher is better", False: "lower is better"}


def log_axis(title: str, values: Sequence[float], panels: int, ticks: Sequence[float] = ()) -> Axis:
    """Return a logarithmic axis with room for labels at both ends; in narrow panels with fewer ticks."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.09, 1.12)
    ends = low / room, high * room
    ticks = ticks or _log_ticks(*ends, 6 if panels == 1 else 5)
    return Axis(title, ends, {tick: f"{tick:.6g}" for tick in ticks}, log=True)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers between the ends of a logarithmic axis, ``most`` of them or fewer."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps: tuple[float, ...] = (1, 2, 5) if high / low < 2000 else (1,)
    if high / low < 8:
        steps = (1, 1.5, 2, 3, 4, 5, 6, 8) if high / low > 2 else tuple(1 + step / 10 for step in range(90))
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside[:: max(1, math.ceil(len(inside) / most))]
