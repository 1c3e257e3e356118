"""Pictures of bars."""

from collections.abc import Mapping
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sparsebench.report.figures.canvas import POINTS, REFERENCE, fitting, legend, text_width, titles
from sparsebench.report.figures.chart import Bar, BarChart, reach
from sparsebench.report.figures.palette import INK, MUTED

MOST_SPREAD = 12
"""Pruned networks of one bar up to which they stand one below another, each with its interval."""


def draw_bars(chart: BarChart) -> Figure:
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
        tick = Line2D([], [], color=MUTED, marker="|", markersize=9, markeredgewidth=1.6, linestyle="", label="p95")
        handles = [Patch(facecolor=MUTED, label="dense"), interval, tick]
    if any(bar.marks for bar in chart.bars):
        diamond: dict[str, Any] = {"marker": "D", "markerfacecolor": "white", "linestyle": "", "markersize": 5}
        handles.append(Line2D([], [], color=INK, label="pruned", **diamond))
    legend(figure, handles)
    return figure


def _right(chart: BarChart, names: Mapping[int, str]) -> float:
    """Return where the x axis must end so that every label beyond its bar stays inside."""
    room = 7.2 * POINTS - max(text_width(name, 10.5) for name in names.values()) - 24
    return max(bar.end / max(0.2, 1 - (text_width(bar.label, 8) + 14) / room) for bar in chart.bars) or 1.0


def _bar(axis: Axes, bar: Bar, pale: bool) -> None:
    """Draw a bar, and on it its interval, its percentile and the pruned networks."""
    if pale:
        axis.barh(bar.y, bar.beyond, height=0.72, color=bar.colour, alpha=0.3, linewidth=0)
    axis.barh(bar.y, bar.value, height=0.5 if pale else 0.72, color=bar.colour, linewidth=0)
    if bar.low < bar.high:
        ends = reach([bar.low], [bar.value], [bar.high])
        # White around the interval keeps it visible on the bar itself.
        axis.errorbar(bar.value, bar.y, xerr=ends, color="white", elinewidth=3.2, capsize=4.4, capthick=3.2)
        axis.errorbar(bar.value, bar.y, xerr=ends, color=INK, elinewidth=1.3, capsize=3.5, capthick=1.3)
    if bar.beyond and not pale:
        axis.plot([bar.beyond], [bar.y], marker="|", markersize=11, color=MUTED, markeredgewidth=1.6)
    # From the least to the most pruned: below each other, where they are few.
    marks = sorted(bar.marks, key=lambda mark: mark.point.threshold)
    spread = len(marks) <= MOST_SPREAD and any(mark.low < mark.high for mark in marks)
    step = 0.56 / max(1, len(marks) - 1) if spread else 0.0
    start = bar.y - step * (len(marks) - 1) / 2
    ys = [start + step * number for number in range(len(marks))]
    if spread:
        axis.hlines(ys, [m.low for m in marks], [m.high for m in marks], color="white", linewidth=2.4, zorder=3)
        axis.hlines(ys, [m.low for m in marks], [m.high for m in marks], color=INK, linewidth=0.9, zorder=4)
    diamond: dict[str, Any] = {
        "marker": "D",
        "markeredgecolor": INK,
        "markerfacecolor": "white",
        "markeredgewidth": 0.8,
    }
    size = 3.4 if spread else 4.5
    axis.plot([mark.value for mark in marks], ys, linestyle="", markersize=size, zorder=5, **diamond)
