"""Trade-offs: accuracy against size, latency and compute, and which points no other beats."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from sparsebench.points.points import Point, Section
from sparsebench.report.answer import named
from sparsebench.report.figures.axes import log_axis, metric_axis
from sparsebench.report.figures.chart import Level, Panel, PanelChart, Series, Spot, spot_of
from sparsebench.report.figures.palette import MUTED, Palette
from sparsebench.statistics.verdicts import Verdict
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.wording.numbers import significant
from sparsebench.wording.scales import value_text
from sparsebench.wording.text import counted, evenly

Placed = tuple[float, float, float]
"""A value and the two ends of its interval; all the same where there is none."""

MOST_LOST_PP = 12.0
"""Percentage points below the best from which on a point is left out."""

MOST_LOST_SHARE = 0.5
"""The same of a metric that is no share, as a share of the best."""

MOST_SPOKEN = 4
"""Points of a front that an alternative text names."""

_APART = 0.014
"""Distance between schemes that would cover each other, as a share of the width of the x axis."""

_UNITS = ((1e9, "billions, "), (1e6, "millions, "), (1e3, "thousands, "), (1, ""))


def against_size(section: Section) -> PanelChart | None:
    """Describe accuracy against deflated file size."""
    return _trade_off(section, lambda p: exact(p.deflated_file_bytes, 1000), "deflated file, kB")


def against_latency(section: Section) -> PanelChart | None:
    """Describe accuracy against latency with its interval."""
    return _trade_off(section, lambda p: latency_interval(section, p), latency_title(section))


def against_macs(section: Section) -> PanelChart | None:
    """Describe accuracy against effective MACs; schemes of one network, which need the same, stand a little apart."""
    most = max((point.effective_macs for point in section.shown if point.effective_macs), default=0.0)
    unit, name = next((unit, name) for unit, name in _UNITS if most >= unit or unit == 1)
    title = f"MACs with a non-zero weight, {name}one sample"
    return _trade_off(section, lambda p: exact(p.effective_macs, unit), title, apart=_APART)


def front(spots: Sequence[Spot], scale: Scale = ACCURACY) -> list[Spot]:
    """Return the spots that no other beats in both x (less is better) and y (by its scale), by ascending x."""
    found: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s.x, -scale.merit(s.y))):
        if not found or scale.merit(spot.y) > scale.merit(found[-1].y):
            found.append(spot)
    return found


def latency_title(section: Section) -> str:
    """Return the title of an axis of latencies; empty where nothing was timed."""
    if section.setting is None:
        return ""
    batch, threads = section.setting
    return f"latency in pairs, ms (batch {batch}, {counted(threads, 'thread')})"


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


def exact(value: float | None, unit: float) -> Placed | None:
    """Return a value that has no interval, in a unit."""
    return None if value is None else (value / unit,) * 3


def _trade_off(
    section: Section, x_of: Callable[[Point], Placed | None], title: str, apart: float = 0.0
) -> PanelChart | None:
    """Describe accuracy against a cost in one panel, with all backends, so that what is best of all can be seen.

    What has broken down is left out, for it would take the room in which the others are told apart.
    """
    found = [(point, x) for point in section.shown if point.value and (x := x_of(point)) is not None and x[0] > 0]
    if not found:
        return None
    every = [spot_of(point, *x) for point, x in found]
    scale = section.scale
    best_of_all = max(scale.merit(spot.y) for spot in every)
    least = best_of_all - (MOST_LOST_PP if scale.share else MOST_LOST_SHARE * abs(best_of_all))
    spots = [spot for spot in every if scale.merit(spot.y) >= least]
    values = [spot.x for spot in spots]
    # Alone, a network still gets an axis over which its schemes can be told apart.
    step = max(max(values) / min(values), 1.3) ** apart
    middle = (len(section.schemes) - 1) / 2

    def placed(spots: Sequence[Spot]) -> tuple[Spot, ...]:
        return tuple(s._replace(x=s.x * step ** (section.schemes.index(s.point.scheme) - middle)) for s in spots)

    palette, best = Palette(section), front(spots, scale)
    points = (
        f"{significant(s.x)} at {value_text(scale, s.y / scale.factor)} ({s.point.label})"
        for s in evenly(best, MOST_SPOKEN)
    )
    alone = section.backends[0] if len(section.backends) == 1 else ""
    panel = _panel(alone, placed(spots), placed(best), palette, named(section).roles(section))
    shown = [spot for series in panel.series for spot in series.spots if series.bars]
    return PanelChart(
        title=section.title,
        setting=section.setting,
        panels=(panel,),
        x=log_axis(title, [x for spot in shown for x in spot.sideways] + values, 1),
        y=metric_axis(spots, scale, shown),
        legend=palette.keys_on_all(),
        spoken=f" On the front ({title}): {'; '.join(points)}.",
        left_out=len(every) - len(spots),
    )


def _panel(name: str, spots: Sequence[Spot], best: tuple[Spot, ...], palette: Palette, roles: dict[int, str]) -> Panel:
    dense = tuple(s for s in spots if s.point.is_baseline and s.point.backend == palette.backends[0])
    leading = {id(spot.point) for spot in (*best, *dense)} | roles.keys()
    groups: dict[tuple[bool, str, str, str | None], list[Spot]] = {}
    for spot in spots:
        point = spot.point
        groups.setdefault((id(point) not in leading, point.scheme, point.backend, point.pruner), []).append(spot)
    order = {scheme: place for place, scheme in enumerate(palette.schemes)}
    return Panel(
        name,
        # What leads comes first, so that the legend shows its full colour; within that, in the order of the legend.
        tuple(
            Series(
                scheme,
                replace(palette.look_on(scheme, backend, pruner), dash=""),
                tuple(group),
                faint=faint,
                bars=not faint,
            )
            for (faint, scheme, backend, pruner), group in sorted(
                groups.items(), key=lambda item: (item[0][0], order[item[0][1]], palette.backends.index(item[0][2]))
            )
        ),
        levels=tuple(Level(spot.y, MUTED, 0.7) for spot in dense),
        front=best,
        beside=tuple(spot for spot in dense if spot not in best),
        ringed=tuple((spot, roles[id(spot.point)]) for spot in spots if id(spot.point) in roles),
    )
