"""Pictures of figures, drawn by matplotlib: heat maps in a file of their own."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from sparsebench.report.figures.canvas import (
    POINTS,
    REFERENCE,
    Label,
    fitting,
    legend,
    text_width,
    titles,
    write_labels,
)
from sparsebench.report.figures.chart import FAINT, Bar, BarChart, Chart, Key, Panel, PanelChart, Series, places, reach
from sparsebench.report.figures.heat_pictures import draw_heat_map
from sparsebench.report.figures.palette import INK, MUTED

MOST_BARS = 16
"""Spots of a line up to which each has a marker and an error bar; of more, a line is drawn in a band."""

MOST_DISTINCT = 60
"""Spots of one look up to which each is worth its size."""

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
    return _bars(chart) if isinstance(chart, BarChart) else draw_heat_map(chart)


def _panels(chart: PanelChart) -> Figure:
    """Draw panels that share their axes, three in a row at most."""
    count, columns = len(chart.panels), chart.columns
    rows = math.ceil(count / columns)
    # A single panel is as wide as a phone at the size of its letters.
    size = (5.4, 4.2) if count == 1 else (1.2 + 3.3 * columns, 1.2 + 2.9 * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for unused in grid[count:]:
        unused.remove()
    axes = grid[:count]
    titles(figure, axes, chart.title, [panel.title for panel in chart.panels], 0.8 * (POINTS * size[0]) / columns)
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
    return Line2D(
        [],
        [],
        color=look.colour,
        marker=look.marker,
        fillstyle=look.fill,
        linestyle=_LINES[look.dash],
        linewidth=0.9 if look.dash == "reference" else None,
        label=key.label,
    )


def _panel(axis: Axes, panel: Panel) -> None:
    for level in panel.levels:
        axis.axhline(level.y, color=level.colour, linewidth=0.9, linestyle=REFERENCE, alpha=level.ink, zorder=1)
    if panel.front:
        axis.step(*places(panel.front), where="post", color=MUTED, linewidth=1, zorder=2)
    for series in panel.series:
        _series(axis, series)
    if panel.front:
        ringed = [spot for spot, _ in panel.ringed]
        axis.plot(*places(ringed), linestyle="", marker="o", markersize=13, fillstyle="none", color=MUTED, zorder=5)
        named = [Label(spot.x, spot.y, f"{spot.name}: {reason}", bold=True) for spot, reason in panel.ringed]
        picks = {id(spot.point) for spot in ringed}
        others = [spot for spot in (*panel.beside, *reversed(panel.front)) if id(spot.point) not in picks]
        write_labels(axis, [*named, *(Label(spot.x, spot.y, spot.name) for spot in others)])


def _series(axis: Axes, series: Series) -> None:
    look, (x, y) = series.look, places(series.spots)
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
    many = len(series.spots) > MOST_DISTINCT
    marks["markersize"] = 6 if not series.faint else 3 if many else 5
    # In an SVG thousands of marks are heavier than a picture of them.
    axis.errorbar(x, y, **bars, **style, **marks, **ink, rasterized=many)


def _bars(chart: BarChart) -> Figure:
    """Draw bars, in a figure as high as they need, with their names, and their labels on the right."""
    figure = Figure(figsize=(7.2, 1.6 + 0.34 * chart.slots), layout="constrained")
    axis = figure.subplots()
    names = {**{bar.y: fitting(bar.scheme, 130, 9.5) for bar in chart.bars}, **chart.headings}
    axis.set_yticks(sorted(names), [names[y] for y in sorted(names)])
    for y, name in zip(sorted(names), axis.get_yticklabels(), strict=True):
        name.set_fontweight("bold" if y in chart.headings else "normal")
    titles(figure, [axis], chart.title, [chart.name])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_ylim(chart.slots - 0.4, -0.6)
    axis.set_xlim(0, _right(chart, names))
    axis.set_xlabel(chart.x_title)
    for bar in chart.bars:
        axis.annotate(
            bar.label,
            (bar.end, bar.y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            # In front of the line of the baseline, which may run where a label stands.
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )
    for bar in chart.bars:
        _bar(axis, bar, chart.pale)
    if chart.reference is not None:
        axis.axvline(chart.reference, color=MUTED, linewidth=0.9, linestyle=REFERENCE, zorder=1)
    if chart.pale:
        handles: list[Artist] = [
            Patch(facecolor=MUTED, alpha=0.3, label="saved, dense"),
            Patch(facecolor=MUTED, label="deflated, dense"),
        ]
    else:
        interval = Line2D([], [], color=INK, marker="|", markersize=7, label="95 % interval")
        handles = [Patch(facecolor=MUTED, label="dense"), interval]
    if any(bar.marks for bar in chart.bars):
        handles.append(
            Line2D([], [], color=INK, marker="D", markerfacecolor="white", linestyle="", markersize=5, label="pruned")
        )
    legend(figure, handles)
    return figure


def _right(chart: BarChart, names: Mapping[int, str]) -> float:
    """Return where the x axis must end so that every label beyond its bar stays inside."""
    room = 7.2 * POINTS - max(text_width(name, 10.5) for name in names.values()) - 24
    return max(bar.end / max(0.2, 1 - (text_width(bar.label, 8) + 14) / room) for bar in chart.bars) or 1.0


def _bar(axis: Axes, bar: Bar, pale: bool) -> None:
    """Draw a bar, and on it its interval and the pruned networks."""
    if pale:
        axis.barh(bar.y, bar.beyond, height=0.72, color=bar.colour, alpha=0.3, linewidth=0)
    axis.barh(bar.y, bar.value, height=0.5 if pale else 0.72, color=bar.colour, linewidth=0)
    if bar.low < bar.high:
        ends = reach([bar.low], [bar.value], [bar.high])
        # White around the interval keeps it visible on the bar itself.
        axis.errorbar(bar.value, bar.y, xerr=ends, color="white", elinewidth=3.2, capsize=4.4, capthick=3.2)
        axis.errorbar(bar.value, bar.y, xerr=ends, color=INK, elinewidth=1.3, capsize=3.5, capthick=1.3)
    # From the least to the most pruned: below each other, where they are few.
    marks, spread = sorted(bar.marks, key=lambda mark: mark.point.threshold), bar.spread
    step = 0.56 / max(1, len(marks) - 1) if spread else 0.0
    start = bar.y - step * (len(marks) - 1) / 2
    ys = [start + step * number for number in range(len(marks))]
    if spread:
        axis.hlines(ys, [m.low for m in marks], [m.high for m in marks], color="white", linewidth=2.4, zorder=3)
        axis.hlines(ys, [m.low for m in marks], [m.high for m in marks], color=INK, linewidth=0.9, zorder=4)
    axis.plot(
        [mark.value for mark in marks],
        ys,
        linestyle="",
        marker="D",
        markersize=3.4 if spread else 4.5,
        markeredgecolor=INK,
        markerfacecolor="white",
        markeredgewidth=0.8,
        zorder=5,
    )
