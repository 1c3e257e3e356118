"""Accuracy against sparsity, one line a scheme."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.report.canvas import MUTED, Palette, fit_percent, label_axes, legend, panels, plain_ticks
from sparsebench.report.pareto import error_bar
from sparsebench.report.points import Point, Section
from sparsebench.report.text import shorten

SIDEWAYS = 0.03
"""How far apart the outermost schemes stand at most, as a fraction of the width of the axis."""


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
    width = max(map(_place, points)) or 1.0
    bars = [error_bar(point) for point in points]
    fit_percent(axes, [low for low, _ in bars], [high for _, high in bars])
    for axis, backend in zip(axes, backends, strict=True):
        axis.set_title(shorten(backend, 40))
        here = [point for point in points if point.backend == backend]
        _baseline(axis, here)
        _lines(axis, here, palette, SIDEWAYS * width / max(3, len(palette.schemes) - 1))
        axis.set_xlim(-0.08 * width, 1.08 * width)
        _ticks(axis, points, width, apart=0.075 if len(backends) == 1 else 0.13)
    label_axes(axes, "sparsity of prunable weights, %", "top-1 accuracy, %")
    legend(figure, palette.handles())
    return figure


def _place(point: Point) -> float:
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
            line.sort(key=_place)
            if not line:
                continue
            y = [100 * p.top1.mean for p in line if p.top1]
            bars = [error_bar(point) for point in line]
            axis.errorbar(
                [_place(point) + shift for point in line],
                y,
                yerr=[
                    [at - low for at, (low, _) in zip(y, bars, strict=True)],
                    [high - at for at, (_, high) in zip(y, bars, strict=True)],
                ],
                color=palette.colour(scheme),
                marker=palette.marker(scheme),
                linestyle=palette.line(pruner),
                fillstyle=palette.fill(pruner),
                markersize=5,
                linewidth=1.3,
                elinewidth=1,
                capsize=2,
            )


def _ticks(axis: Axes, points: Sequence[Point], width: float, apart: float) -> None:
    """Label the sparsities reached, from the most to the least, leaving out those that would touch another."""
    places: dict[float, float] = {}
    for point in points:
        places.setdefault(point.threshold, _place(point))
    kept: list[tuple[float, str]] = []
    ordered = sorted(places.items())
    # Both ends are always named; between them, as many as fit.
    for threshold, place in [ordered[0], ordered[-1], *ordered[-2:0:-1]]:
        if all(abs(place - other) > apart * width for other, _ in kept):
            kept.append((place, f"{100 * threshold:.4g}"))
    kept.sort()
    plain_ticks(axis.xaxis, [place for place, _ in kept], [name for _, name in kept])
