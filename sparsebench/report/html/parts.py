"""What all charts share: panels, layout, colours and marks."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from matplotlib.colors import to_rgba
from plotly.subplots import make_subplots

from sparsebench.points.points import Section
from sparsebench.report.canvas import columns_of, lines_of_title, log_range, log_ticks, percent_range
from sparsebench.report.html.hover import safe
from sparsebench.report.palette import GRID, INK, MUTED, Palette

_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "*": "star",
}
_OPEN = {"full": "", "none": "-open", "left": "-dot", "right": "-open-dot", "top": "-dot", "bottom": "-open-dot"}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def panels(title: str, names: Sequence[str], x: str, y: str) -> go.Figure:
    """Return a figure with a panel for each name, all with the same axes."""
    columns = columns_of(len(names))
    rows = math.ceil(len(names) / columns)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[safe(name, 60) for name in names],
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.04,
        vertical_spacing=0.16 / rows,
    )
    figure.update_layout(height=190 + 270 * rows, **layout_of(title))
    figure.update_xaxes(gridcolor=GRID, linecolor=MUTED, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, linecolor=MUTED, zeroline=False)
    figure.update_annotations(font_size=13)
    title_of_axis = "<br>".join(lines_of_title(x, columns))
    for number in range(len(names)):
        if number + columns >= len(names):  # nothing below it: the last row may not be full
            figure.update_xaxes(title_text=title_of_axis, showticklabels=True, **place_in(number, len(names)))
    figure.update_yaxes(title_text=y, col=1)
    return figure


def layout_of(title: str) -> dict[str, Any]:
    """Return the layout that all charts have."""
    return {
        "template": "none",
        "title": {"text": safe(title), "x": 0.01, "font": {"size": 15}},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "margin": {"l": 70, "r": 20, "t": 70, "b": 60},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": INK}, "namelength": -1},
        "legend": {"groupclick": "togglegroup"},
    }


def place_in(number: int, count: int) -> dict[str, int]:
    """Return row and column of a panel among ``count``, from 1 on."""
    columns = columns_of(count)
    return {"row": number // columns + 1, "col": number % columns + 1}


class Style:
    """Colours and marks of schemes and pruners, and which of them the legend has named already."""

    def __init__(self, section: Section) -> None:
        self._palette = Palette(section.schemes, section.pruners)
        self._several = len(section.pruners) > 1
        self._named: set[str] = set()

    def name(self, scheme: str, pruner: str | None) -> str:
        """Return what the legend calls a scheme, with its pruner where there are several."""
        return safe(f"{scheme} · {pruner or 'dense'}" if self._several else scheme, 60)

    def legend(self, name: str) -> dict[str, Any]:
        """Return the settings that give a name one entry in the legend, however many panels have it."""
        new = name not in self._named
        self._named.add(name)
        return {"name": name, "legendgroup": name, "showlegend": new}

    def colour(self, scheme: str) -> str:
        """Return the colour of a scheme."""
        return self._palette.colour(scheme)

    def symbol(self, scheme: str, pruner: str | None) -> str:
        """Return the mark of a scheme, filled as its pruner's are."""
        return f"{_SYMBOLS[self._palette.marker(scheme)]}{_OPEN[self._palette.fill(pruner)]}"

    def dash(self, pruner: str | None) -> str:
        """Return the line of a pruner."""
        return _DASHES[self._palette.pruner_place(pruner) % len(_DASHES)]


def percent_axis(figure: go.Figure, bars: Sequence[tuple[float, float]]) -> None:
    """Give the y axes of a figure, in percent, the range of error bars, from their lower to their upper ends."""
    figure.update_yaxes(range=list(percent_range([low for low, _ in bars], [high for _, high in bars])))


def log_axis(figure: go.Figure, values: Sequence[float], panels: int, ticks: Sequence[float] | None = None) -> None:
    """Give the x axes of a figure a logarithmic scale with plain numbers; the y axes must have their range."""
    low, high = log_range(values)
    ticks = ticks or log_ticks(low, high, 10 if panels == 1 else 5)
    ends = [math.log10(low), math.log10(high)]
    figure.update_xaxes(type="log", range=ends, tickvals=ticks, ticktext=[f"{tick:.6g}" for tick in ticks])


def reach(values: Sequence[tuple[float, float, float]], colour: str) -> dict[str, Any]:
    """Return error bars, from the lower end, the middle and the upper end of each."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - middle) for _, middle, high in values],
        "arrayminus": [max(0.0, middle - low) for low, middle, _ in values],
        "color": colour,
        "thickness": 1,
        "width": 0,
    }


def faded(colour: str, share: float) -> str:
    """Return a colour with a share of its ink."""
    red, green, blue, _ = (round(255 * part) for part in to_rgba(colour))
    return f"rgba({red}, {green}, {blue}, {share:g})"
