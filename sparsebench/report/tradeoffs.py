"""Trade-offs: accuracy against size, latency and compute; which points no other beats, and which are picked."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sparsebench.decide.picks import pick
from sparsebench.points.points import Point, Section
from sparsebench.statistics.verdicts import Verdict
from sparsebench.wording.text import counted

Placed = tuple[float, float, float]
"""A value and the two ends of its interval; all the same where there is none."""

_UNITS = ((1e9, "billions, "), (1e6, "millions, "), (1e3, "thousands, "), (1, ""))


class Spot(NamedTuple):
    """A point in a figure: x, top-1 in percent, and the ends of both error bars."""

    x: float
    y: float
    low: float
    high: float
    point: Point
    x_low: float | None = None
    x_high: float | None = None


@dataclass(frozen=True)
class TradeOff:
    """What one figure shows: its spots by backend, the label of its x axis, and whether schemes share their x.

    ``picks`` names what the report's first line picks, by the identity of the point.
    """

    x_label: str
    panels: dict[str, list[Spot]]
    schemes: tuple[str, ...]
    apart: bool
    picks: dict[int, str]

    @property
    def spots(self) -> list[Spot]:
        """All spots of all backends."""
        return [spot for spots in self.panels.values() for spot in spots]

    @property
    def values(self) -> list[float]:
        """All that must find its place on the x axis: spots and the ends of their intervals."""
        return [x for spot in self.spots for x in (spot.x, spot.x_low, spot.x_high) if x]

    def placed(self, spots: Iterable[Spot]) -> list[Spot]:
        """Return spots where they are drawn: schemes that would cover each other stand a little apart sideways."""
        if not self.apart:
            return list(spots)
        values = [spot.x for spot in self.spots]
        # Alone, a network still gets an axis over which its schemes can be told apart.
        step = max(max(values) / min(values), 1.3) ** _APART
        middle = (len(self.schemes) - 1) / 2
        return [spot._replace(x=spot.x * step ** (self.schemes.index(spot.point.scheme) - middle)) for spot in spots]


def against_size(section: Section) -> TradeOff | None:
    """Return accuracy against deflated file size; None where there is nothing to draw."""
    return _trade_off(section, lambda p: _exact(p.deflated_file_bytes, 1000), "deflated file, kB")


def against_latency(section: Section) -> TradeOff | None:
    """Return accuracy against latency with its interval; None where there is nothing to draw."""
    if section.setting is None:
        return None
    batch, threads = section.setting
    label = f"latency in pairs, ms (batch {batch}, {counted(threads, 'thread')})"
    return _trade_off(section, lambda p: latency_interval(section, p), label)


def against_macs(section: Section) -> TradeOff | None:
    """Return accuracy against effective MACs; None where there is nothing to draw."""
    most = max((point.effective_macs for point in section.shown if point.effective_macs), default=0.0)
    unit, name = next((unit, name) for unit, name in _UNITS if most >= unit or unit == 1)
    label = f"MACs with a non-zero weight, {name}one sample"
    return _trade_off(section, lambda p: _exact(p.effective_macs, unit), label, apart=True)


def front(spots: Sequence[Spot]) -> list[Spot]:
    """Return the spots that no other beats in both x (less is better) and y (more is better), by ascending x."""
    found: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s.x, -s.y)):
        if not found or spot.y > found[-1].y:
            found.append(spot)
    return found


def error_bar(point: Point) -> tuple[float, float]:
    """Return the ends of a point's error bar in percent: ± sample std over seeds, or Wilson's limits of a single seed.

    A point that has one seed in a run of several has no bar: it would mean another thing than its neighbours'.
    """
    top1 = point.top1
    if top1 is None:
        return 0.0, 0.0
    if top1.std is not None:
        return 100 * (top1.mean - top1.std), 100 * (top1.mean + top1.std)
    scored = next((s.trial.evaluated for s in point.seeds if s.trial.evaluated), None)
    if point.planned > 1 or scored is None:
        return 100 * top1.mean, 100 * top1.mean
    return 100 * scored.top1_low, 100 * scored.top1_high


def latency_interval(section: Section, point: Point) -> Placed | None:
    """Return a latency as the paired rounds saw it, in milliseconds, with the 95 % limits of its speedup.

    The baseline has none: it is what the others are divided by.
    """
    timing, middle = point.timing(section.setting), section.latency_ms(point)
    if timing is None or middle is None:
        return None
    speed = timing.reference
    if speed.verdict is Verdict.BASELINE or not (0 < speed.low <= speed.high < math.inf):
        return middle, middle, middle
    return middle, middle * speed.speedup / speed.high, middle * speed.speedup / speed.low


def picked(section: Section) -> dict[int, str]:
    """Return what is said of each point that the report's first line picks, by its identity."""
    picks = pick(section)
    found: dict[int, str] = {}
    for point, name in ((picks.smallest, "smallest"), (picks.fastest, "fastest")):
        if point is not None:
            found[id(point)] = f"{found[id(point)]}, {name}" if id(point) in found else name
    return found


_APART = 0.014
"""Distance between schemes that would cover each other, as a share of the width of the x axis."""


def _exact(value: float | None, unit: float) -> Placed | None:
    return None if value is None else (value / unit,) * 3


def _trade_off(
    section: Section, x_of: Callable[[Point], Placed | None], x_label: str, apart: bool = False
) -> TradeOff | None:
    panels: dict[str, list[Spot]] = {}
    for backend in section.backends:
        for point in section.on(backend):
            x = x_of(point)
            if point.top1 and x is not None and x[0] > 0:
                bar = error_bar(point)
                panels.setdefault(backend, []).append(Spot(x[0], 100 * point.top1.mean, *bar, point, x[1], x[2]))
    return TradeOff(x_label, panels, section.schemes, apart, picked(section)) if panels else None
