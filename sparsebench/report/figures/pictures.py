"""Pictures of figures, drawn by matplotlib: panels here, bars and heat maps in files of their own."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from sparsebench.report.figures.bar_pictures import draw_bars
from sparsebench.report.figures.canvas import REFERENCE, legend, titles
from sparsebench.report.figures.chart import FAINT, BarChart, Chart, Key, Panel, PanelChart, Series, Spot, reach
from sparsebench.report.figures.heat_pictures import draw_heat_map
from sparsebench.report.figures.labels import Label, write_labels
from sparsebench.report.figures.palette import MUTED

MOST_BARS = 16
"""Spots of a line up to which each has a marker and an error bar; of more, a line is drawn in a band."""

_LINES: dict[str, Any] = {
    "": "",
    "solid": "-",
    "dash": "--",
    "dot": ":",
    "dashdot": "-.",
    "longdash": (0, (5, 1, 1, 1, 1, 1)),
    "longdashdot": (0, (1, 3)),
    "reference": REFERENCE,
}


def picture(chart: Chart) -> Figure:
    """Draw a figure; in ``canvas.look``, which has its settings."""
    if isinstance(chart, PanelChart):
        return _panels(chart)
    return draw_bars(chart) if isinstance(chart, BarChart) else draw_heat_map(chart)


def _panels(chart: PanelChart) -> Figure:
    """Draw panels that share their axes, three in a row at most."""
    count, columns = len(chart.panels), chart.columns
    rows = math.ceil(count / columns)
    size = (7.2, 4.4) if count == 1 else (1.2 + 3.3 * columns, 1.2 + 2.9 * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for unused in grid[count:]:
        unused.remove()
    axes = grid[:count]
    titles(figure, axes, chart.title, [panel.title for panel in chart.panels])
    # They are shared.
    first = axes[0]
    if chart.x.log:
        first.set_xscale("log")
    first.set_xlim(*chart.x.ends)
    first.set_ylim(*chart.y.ends)
    first.xaxis.set_major_locator(FixedLocator(list(chart.x.ticks)))
    first.xaxis.set_major_formatter(FixedFormatter(list(chart.x.ticks.values())))
    first.xaxis.set_minor_locator(NullLocator())
    for number, (axis, panel) in enumerate(zip(axes, chart.panels, strict=True)):
        _panel(axis, panel)
        if number + columns >= count:  # nothing below it: the last row may not be full
            axis.set_xlabel("\n".join(chart.lines_of_title))
            axis.tick_params(labelbottom=True)
        if number % columns == 0:
            axis.set_ylabel(chart.y.title)
    legend(figure, *([_handle(key) for key in group] for group in chart.legend))
    return figure


def _handle(key: Key) -> Artist:
    look = key.look
    style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "fillstyle": look.fill, "label": key.label}
    style |= {"linewidth": 0.9} if look.dash == "reference" else {}
    return Line2D([], [], linestyle=_LINES[look.dash], **style)


def _panel(axis: Axes, panel: Panel) -> None:
    for level in panel.levels:
        axis.axhline(level.y, color=level.colour, linewidth=0.9, linestyle=REFERENCE, alpha=level.ink, zorder=1)
    if panel.overall:
        axis.step(*_places(panel.overall), ":", where="post", color=MUTED, linewidth=1, zorder=1)
    if panel.front:
        axis.step(*_places(panel.front), where="post", color=MUTED, linewidth=1, zorder=2)
    for series in panel.series:
        _series(axis, series)
    if panel.front:
        ringed = [spot for spot, _ in panel.ringed]
        axis.plot(*_places(ringed), linestyle="", marker="o", markersize=13, fillstyle="none", color=MUTED, zorder=5)
        named = [Label(spot.x, spot.y, f"{spot.name}: {reason}", bold=True) for spot, reason in panel.ringed]
        picks = {id(spot.point) for spot in ringed}
        others = [spot for spot in reversed(panel.front) if id(spot.point) not in picks]
        write_labels(axis, [*named, *(Label(spot.x, spot.y, spot.name) for spot in others)])


def _places(spots: Sequence[Spot]) -> tuple[list[float], list[float]]:
    return [spot.x for spot in spots], [spot.y for spot in spots]


def _series(axis: Axes, series: Series) -> None:
    look, (x, y) = series.look, _places(series.spots)
    low, high = [spot.low for spot in series.spots], [spot.high for spot in series.spots]
    style: dict[str, Any] = {"color": look.colour, "linestyle": _LINES[look.dash]}
    marks: dict[str, Any] = {"marker": look.marker, "fillstyle": look.fill, "markersize": 5, "elinewidth": 1}
    if look.dash:
        style["linewidth"] = 1.3
        if len(series.spots) > MOST_BARS:
            axis.fill_between(x, low, high, color=look.colour, alpha=0.12, linewidth=0)
            axis.plot(x, y, **style)
            return
        axis.errorbar(series.moved or x, y, yerr=reach(low, y, high), capsize=2, **style, **marks)
        return
    bars: dict[str, Any] = {"yerr": reach(low, y, high)} if series.bars else {}
    ends = [spot.sideways for spot in series.spots]
    if series.bars and any(left < right for left, right in ends):
        bars["xerr"] = reach([left for left, _ in ends], x, [right for _, right in ends])
    ink: dict[str, Any] = {"alpha": FAINT, "zorder": 3} if series.faint else {"alpha": 1.0, "zorder": 4}
    marks["markersize"] = 6 if not series.faint else 5 if series.bars else 3
    # In an SVG thousands of marks are heavier than a picture of them.
    axis.errorbar(x, y, **bars, **style, **marks, **ink, rasterized=not series.bars)
