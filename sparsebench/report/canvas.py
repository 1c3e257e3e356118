"""What all figures share: look, panels, titles, legends, axes, and how a figure becomes bytes."""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import Any

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from sparsebench.report.palette import GRID, INK, MUTED
from sparsebench.wording.text import clean

POINTS = 72
"""Points to an inch."""

_LETTERS_OF_A_ROW = 120
"""How many letters of axis titles have room side by side, in a figure as in a window of 1,280 points."""

_LOOK: dict[str, Any] = {
    "svg.hashsalt": "sparsebench",  # otherwise the ids in an SVG are random
    "svg.fonttype": "path",  # shown alike where the font is missing
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.unicode_minus": True,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    # GitHub shows the same file on a light and on a dark page, so the background is part of the figure.
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 150,
}


@contextmanager
def look() -> Iterator[None]:
    """Draw and save under this package's own settings, whatever the user's matplotlib is set to."""
    with style.context(["default", _LOOK]), warnings.catch_warnings():
        # A name in a script that the font lacks shows as boxes; the tables have it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def panels(count: int, size: tuple[float, float] = (7.2, 4.4)) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``count`` panels that share their axes, three in a row at most."""
    columns = columns_of(count)
    rows = math.ceil(count / columns)
    width, height = size if count == 1 else (1.2 + 3.3 * columns, 1.2 + 2.9 * rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def columns_of(count: int) -> int:
    """Return how many of ``count`` panels stand in a row."""
    return 2 if count == 4 else min(3, count)


def text_width(text: str, size: float) -> float:
    """Return the width of ``text`` at a font size, both in points."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width)


def fitting(text: str, width: float, size: float) -> str:
    """Return ``text`` on one line, cut with an ellipsis where it would be wider than ``width`` points."""
    line = clean(text)[:500]
    if text_width(line, size) <= width:
        return line
    low, high = 0, len(line)
    while high - low > 1:  # the longest beginning that fits
        middle = (low + high) // 2
        low, high = (middle, high) if text_width(f"{line[:middle]}…", size) <= width else (low, middle)
    return f"{line[:low].rstrip()}…"


def titles(figure: Figure, axes: Sequence[Axes], subject: str, names: Sequence[str], room: float | None = None) -> None:
    """Write what a figure is of above it, and what each panel is of above that.

    Args:
        figure: the figure.
        axes: its panels; of one alone the name stands beside the subject.
        subject: what the figure is of.
        names: what each panel is of.
        room: width of a panel in points; about what the panels of ``panels`` have where None.
    """
    width = POINTS * float(figure.get_size_inches()[0])
    alone = len(axes) == 1
    title = " · ".join(filter(None, (subject, *names))) if alone else subject
    figure.suptitle(fitting(title, 0.92 * width, 10.5), fontsize=10.5, x=0.01, ha="left")
    if not alone:
        room = room or 0.8 * width / columns_of(len(axes))
        for axis, name in zip(axes, names, strict=True):
            axis.set_title(fitting(name, room, 9.5), fontsize=9.5)


def legend(figure: Figure, *groups: Sequence[Artist]) -> None:
    """Put one legend below the panels, where it hides no data; each group begins a row."""
    size = 9.0
    given = [group for group in groups if group]
    if not given:
        return
    # A handle and the room around it take about five letters' width.
    widest = max(text_width(str(handle.get_label()), size) for group in given for handle in group) + 5 * size
    most = max(1, int(0.97 * POINTS * figure.get_size_inches()[0] / widest))
    columns = min(most, max(map(len, given)))
    cells: list[Artist] = []
    for group in given:
        cells += [*group, *(_blank() for _ in range(-len(group) % columns))]
    # Matplotlib fills columns from top to bottom; read along rows, the groups stay together.
    rows = len(cells) // columns
    ordered = [cells[row * columns + column] for column in range(columns) for row in range(rows)]
    figure.legend(handles=ordered, loc="outside lower center", ncols=columns, fontsize=size)


def _blank() -> Artist:
    return Line2D([], [], linestyle="", label=" ")


def label_axes(axes: Sequence[Axes], x: str, y: str) -> None:
    """Label the x axis of the lowest panels and the y axis of the leftmost."""
    columns = columns_of(len(axes))
    for number, axis in enumerate(axes):
        if number + columns >= len(axes):  # nothing below it: the last row may not be full
            axis.set_xlabel("\n".join(lines_of_title(x, columns)))
            axis.tick_params(labelbottom=True)
        if number % columns == 0:
            axis.set_ylabel(y)


def lines_of_title(title: str, columns: int) -> list[str]:
    """Return the lines of an axis title, so short that those of panels side by side do not meet."""
    return wrap(title, _LETTERS_OF_A_ROW // columns)


def log_range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis with room for labels at both."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.09, 1.12)
    return low / room, high * room


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers between the ends of a logarithmic axis, ``most`` of them or fewer."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps: tuple[float, ...] = (1, 2, 5) if high / low < 2000 else (1,)
    if high / low < 8:
        steps = (1, 1.5, 2, 3, 4, 5, 6, 8) if high / low > 2 else tuple(1 + step / 10 for step in range(90))
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside[:: max(1, math.ceil(len(inside) / most))]


def fit_log(axes: Sequence[Axes], values: Sequence[float]) -> None:
    """Give the x axis a logarithmic scale with plain numbers; in narrow panels fewer, so that they do not touch."""
    low, high = log_range(values)
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xlim(low, high)
        plain_ticks(axis.xaxis, log_ticks(low, high, 8 if len(axes) == 1 else 5))


def plain_ticks(axis: Axis, ticks: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """Set ticks where given, written as plain numbers or as ``labels``."""
    names = dict(zip(ticks, labels, strict=True)) if labels is not None else {}
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: names.get(value, f"{value:.6g}")))


def fit_percent(axes: Sequence[Axes], lows: Sequence[float], highs: Sequence[float]) -> None:
    """Give the y axis, in percent, the range of the data and some room."""
    for axis in axes:
        axis.set_ylim(*percent_range(lows, highs))


def percent_range(lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis in percent: the range of the data and some room, hardly beyond 0 and 100."""
    low, high = min(lows), max(highs)
    room = max(0.08 * (high - low), 0.4)
    return max(-1.0, low - room), min(101.0, high + room)


def png_and_svg(figure: Figure) -> dict[str, bytes]:
    """Return a figure as PNG and SVG; the same figure gives the same bytes, without dates or version numbers."""
    found = {}
    # The PNG comes first, and with it the layout: its letters, fitted to pixels, are a little wider.
    metadata: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    for kind, without in metadata.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=without)
        figure.set_layout_engine("none")  # laid out once, which takes a third of the time
        found[kind] = buffer.getvalue()
    return found
