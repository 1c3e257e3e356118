"""Pictures of heat maps: grids of cells side by side that share their rows and colours."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sparsebench.report.figures.canvas import POINTS, fitting, text_width, titles
from sparsebench.report.figures.chart import Grid, HeatMap
from sparsebench.wording.text import shorten

MOST_UPRIGHT = 12
"""Columns up to which their names stand upright."""

WIDEST, SCALE, GAP = 14.0, 1.3, 0.15
"""Inches: the widest figure, what the scale of colours takes of it, and the gap between grids."""

MOST_NAMES = 80
"""Rows up to which each is named; of more, evenly spaced ones are."""


def draw_heat_map(shown: HeatMap) -> Figure:
    """Draw a heat map, as large as its cells and the names of its rows need; grids that do not fit start a new row."""
    names = [shorten(name, 36) for name in shown.rows]
    small = 8.0 if len(names) <= 30 else 6.5
    margin = max(text_width(name, small) for name in names) / POINTS
    texts = {text for grid in shown.grids if grid.written for row in grid.texts for text in row}
    text = (max((text_width(text, 7.5) for text in texts), default=0.0) + 8) / POINTS
    # Texts fit into their cells, unless there are many columns.
    columns = max(len(grid.columns) for grid in shown.grids)
    width = 0.3 * columns if columns > MOST_UPRIGHT else max(1.8, max(0.45, text) * columns)
    across = max(1, min(len(shown.grids), int((WIDEST - margin - SCALE) / (width + GAP))))
    down = math.ceil(len(shown.grids) / across)
    height = 0.9 + (1.0 + max(0.16, min(0.32, 9 / len(names))) * len(names)) * down
    figure = Figure(figsize=(margin + SCALE + (width + GAP) * across, height), layout="constrained")
    axes = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
    for unused in axes[len(shown.grids) :]:
        unused.remove()
    axes = axes[: len(shown.grids)]
    titles(figure, axes, shown.title, [grid.title for grid in shown.grids], room=POINTS * width)
    for axis, grid in zip(axes, shown.grids, strict=True):
        axis.pcolormesh(
            grid.cells, cmap=shown.colours, vmin=shown.low, vmax=shown.high, edgecolors="white", linewidth=0.4
        )
        _texts(axis, grid, shown, written=text <= width / len(grid.columns))
        axis.set_xticks(np.arange(len(grid.columns)) + 0.5, grid.columns, fontsize=8.5)
        axis.tick_params(axis="x", rotation=90 if len(grid.columns) > MOST_UPRIGHT else 0)
        axis.grid(visible=False)
        axis.tick_params(length=0)
        axis.set_xlabel(shown.x_title)
    step = max(1, len(names) // MOST_NAMES)
    axes[0].set_yticks(np.arange(0, len(names), step) + 0.5, names[::step], fontsize=small)
    for axis in axes[::across]:
        axis.tick_params(axis="y", labelsize=small)
    axes[0].invert_yaxis()
    mapped = ScalarMappable(Normalize(shown.low, shown.high), shown.colours)
    bar = figure.colorbar(mapped, ax=axes, pad=0.02, aspect=22)
    bar.set_label(fitting(shown.scale_title, 0.8 * (POINTS * height), 9))
    if shown.ticks:
        bar.set_ticks(list(shown.ticks), labels=list(shown.ticks.values()))
    return figure


def _texts(axis: Axes, grid: Grid, shown: HeatMap, written: bool) -> None:
    """Write into each cell what stands in it, where it fits, and outline what is to be noticed."""
    colours, norm = colormaps[shown.colours], Normalize(shown.low, shown.high)
    if written and grid.written:
        for (row, column), value in np.ndenumerate(grid.cells):
            if not np.isnan(value):
                ink = "black" if _luminance(colours(norm(value))) > 0.2 else "white"
                text = grid.texts[row][column]
                axis.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7.5, color=ink)
    for row, column in sorted(grid.outlined):
        corner = column + 0.06, row + 0.06
        axis.add_patch(Rectangle(corner, 0.88, 0.88, fill=False, edgecolor=shown.outline, linewidth=1.8))


def _luminance(colour: tuple[float, float, float, float]) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2.2); at 0.18 black and white are equally legible on it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
