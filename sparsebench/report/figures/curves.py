"""Accuracy against sparsity, one line a scheme."""

import math
from collections.abc import Sequence

from sparsebench.points.points import Point, Section
from sparsebench.report.figures.axes import accuracy_axis
from sparsebench.report.figures.chart import Axis, Level, Panel, PanelChart, Series, spot_of
from sparsebench.report.figures.palette import MUTED, Palette

SIDEWAYS = 0.03
"""How far apart the outermost schemes stand at most in a picture, as a fraction of the width of the axis."""


def accuracy_against_sparsity(section: Section) -> PanelChart | None:
    """Describe accuracy against the sparsity reached; None where fewer than two thresholds have an accuracy.

    The axis is log(1 / (1 − sparsity)), the logarithm of the compression by zeros alone: 50, 75 and 87.5 % stand
    equally far apart, and the end, where accuracy breaks down, gets the room it needs.
    """
    points = [point for point in section.shown if point.top1 and point.sparsity]
    if len({point.threshold for point in points}) < 2:
        return None
    backends = [backend for backend in section.backends if any(p.backend == backend for p in points)]
    width = max(map(_place, points)) or 1.0
    ticks = _ticks(points, (0.075 if len(backends) == 1 else 0.13) * width)
    palette = Palette(section)
    apart = SIDEWAYS * width / max(3, len(palette.schemes) - 1)
    return PanelChart(
        title=section.title,
        setting=section.setting,
        panels=tuple(_panel(name, [p for p in points if p.backend == name], palette, apart) for name in backends),
        x=Axis("sparsity of prunable weights, %", (-0.08 * width, 1.08 * width), ticks),
        y=accuracy_axis([spot_of(point, 0.0) for point in points]),
        legend=(palette.scheme_keys(), palette.pruner_keys()),
    )


def _place(point: Point) -> float:
    """Return a point's place on the axis; a network without any weight left stands where 1 in a million is."""
    reached = point.sparsity.mean if point.sparsity else 0.0
    return -math.log(max(1.0 - reached, 1e-6))


def _panel(backend: str, points: Sequence[Point], palette: Palette, apart: float) -> Panel:
    dense = next((spot_of(point, 0.0) for point in points if point.is_baseline), None)
    series = []
    for number, scheme in enumerate(palette.schemes):
        shift = apart * (number - (len(palette.schemes) - 1) / 2)
        for pruner in palette.pruners:
            line = [p for p in points if p.scheme == scheme and (p.dense or p.pruner == pruner)]
            spots = tuple(spot_of(point, _place(point)) for point in sorted(line, key=_place))
            if spots:
                moved = tuple(spot.x + shift for spot in spots)
                series.append(Series(palette.name(scheme, pruner), palette.look(scheme, pruner), spots, moved=moved))
    return Panel(backend, tuple(series), (Level(dense.y, MUTED),) if dense else ())


def _ticks(points: Sequence[Point], apart: float) -> dict[float, str]:
    """Name the sparsities reached, from the most to the least, leaving out those that would touch another."""
    places: dict[float, float] = {}
    for point in points:
        places.setdefault(point.threshold, _place(point))
    kept: dict[float, str] = {}
    ordered = sorted(places.items())
    # Both ends are always named; between them, as many as fit.
    for threshold, place in [ordered[0], ordered[-1], *ordered[-2:0:-1]]:
        if all(abs(place - other) > apart for other in kept):
            kept[place] = f"{100 * threshold:.4g}"
    return dict(sorted(kept.items()))
