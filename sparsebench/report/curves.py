"""Accuracy against sparsity, one line a scheme."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.points.points import Point, Section
from sparsebench.report.canvas import fit_percent, label_axes, legend, panels, plain_ticks, titles
from sparsebench.report.palette import MUTED, Palette
from sparsebench.report.tradeoffs import error_bar

SIDEWAYS = 0.03
"""How far apart the outermost schemes stand at most, as a fraction of the width of the axis."""

MOST_BARS = 16
"""Thresholds up to which each point has a marker and an error bar; of more, a line is drawn in a band."""


def accuracy_against_sparsity(section: Section) -> Figure | None:
    """Draw accuracy against the sparsity reached; None where fewer than two thresholds have an accuracy.

    The axis is log(1 / (1 − sparsity)), the logarithm of the compression by zeros alone: 50, 75 and 87.5 % stand
    equally far apart, and the end, where accuracy breaks down, gets the room it needs.
    """
    points = [point for point in section.shown if point.top1 and point.sparsity]
    if len({point.threshold for point in points}) < 2:
        return None
    backends = [backend for backend in section.backends if any(p.backend == backend for p in points)]
    figure, axes = panels(len(backends))
    palette = Palette(section.schemes, section.pruners)
    titles(figure, axes, section.title, backends)
    width = max(map(place_of, points)) or 1.0
    bars = [error_bar(point) for point in points]
    fit_percent(axes, [low for low, _ in bars], [high for _, high in bars])
    for axis, backend in zip(axes, backends, strict=True):
        here = [point for point in points if point.backend == backend]
        _baseline(axis, here)
        _lines(axis, here, palette, SIDEWAYS * width / max(3, len(palette.schemes) - 1))
        axis.set_xlim(-0.08 * width, 1.08 * width)
        _ticks(axis, points, width, apart=0.075 if len(backends) == 1 else 0.13)
    label_axes(axes, "sparsity of prunable weights, %", "top-1 accuracy, %")
    legend(figure, *palette.groups())
    return figure


def place_of(point: Point) -> float:
    """Return a point's place on the axis; a network without any weight left stands where 1 in a million is."""
    reached = point.sparsity.mean if point.sparsity else 0.0
    return -math.log(max(1.0 - reached, 1e-6))


def _baseline(axis: Axes, points: Sequence[Point]) -> None:
    dense = next((p for p in points if p.is_baseline and p.top1), None)
    if dense and dense.top1:
        axis.axhline(100 * dense.top1.mean, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)


def _lines(axis: Axes, points: Sequence[Point], palette: Palette, apart: float) -> None:
    for number, scheme in enumerate(palette.schemes):
        shift = apart * (number - (len(palette.schemes) - 1) / 2)
        for pruner in palette.pruners:
            line = [p for p in points if p.scheme == scheme and (p.dense or p.pruner == pruner)]
            line.sort(key=place_of)
            if not line:
                continue
            style: dict[str, Any] = {
                "color": palette.colour(scheme),
                "linestyle": palette.line(pruner),
                "linewidth": 1.3,
            }
            if len(line) > MOST_BARS:
                _band(axis, line, style)
                continue
            marks: dict[str, Any] = {
                "marker": palette.marker(scheme),
                "fillstyle": palette.fill(pruner),
                "markersize": 5,
            }
            y, (below, above) = error_bars(line)
            x = [place_of(point) + shift for point in line]
            axis.errorbar(x, y, yerr=[below, above], elinewidth=1, capsize=2, **style, **marks)


def error_bars(points: Sequence[Point]) -> tuple[list[float], tuple[list[float], list[float]]]:
    """Return top-1 in percent of points that have one, and how far their error bars reach down and up from it."""
    y = [100 * point.top1.mean for point in points if point.top1]
    ends = [error_bar(point) for point in points]
    below = [at - low for at, (low, _) in zip(y, ends, strict=True)]
    return y, (below, [high - at for at, (_, high) in zip(y, ends, strict=True)])


def _band(axis: Axes, line: Sequence[Point], style: dict[str, Any]) -> None:
    y, (below, above) = error_bars(line)
    x = [place_of(point) for point in line]
    low = [at - reach for at, reach in zip(y, below, strict=True)]
    high = [at + reach for at, reach in zip(y, above, strict=True)]
    axis.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)
    axis.plot(x, y, **style)


def _ticks(axis: Axes, points: Sequence[Point], width: float, apart: float) -> None:
    """Label the sparsities reached, from the most to the least, leaving out those that would touch another."""
    places: dict[float, float] = {}
    for point in points:
        places.setdefault(point.threshold, place_of(point))
    kept: list[tuple[float, str]] = []
    ordered = sorted(places.items())
    # Both ends are always named; between them, as many as fit.
    for threshold, place in [ordered[0], ordered[-1], *ordered[-2:0:-1]]:
        if all(abs(place - other) > apart * width for other, _ in kept):
            kept.append((place, f"{100 * threshold:.4g}"))
    kept.sort()
    plain_ticks(axis.xaxis, [place for place, _ in kept], [name for _, name in kept])
