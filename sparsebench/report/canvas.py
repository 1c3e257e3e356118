"""What all figures share: look, colours, legends, axes, and how a figure becomes bytes."""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from sparsebench.report.text import shorten

INK, MUTED, GRID = "#222222", "#666666", "#dddddd"

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
    "savefig.dpi": 120,
}

# Colours of Okabe and Ito 2008, told apart with any colour vision; without their yellow, which is lost on white.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_KNOWN = ("fp32", "dynamic", "static", "both", "qat", "weight_only", "bf16", "fp16")
_LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_FILLS: tuple[Literal["full", "none", "left", "right", "top", "bottom"], ...] = (
    "full",
    "none",
    "left",
    "right",
    "top",
    "bottom",
)


@dataclass(frozen=True)
class Palette:
    """Colour and marker of every scheme, line and fill of every pruner; the same scheme looks alike in all reports."""

    schemes: tuple[str, ...]
    pruners: tuple[str, ...]

    def colour(self, scheme: str) -> str:
        """Return the colour of a scheme."""
        return _COLOURS[self._place(scheme) % len(_COLOURS)]

    def marker(self, scheme: str) -> str:
        """Return the marker of a scheme."""
        return _MARKERS[self._place(scheme) % len(_MARKERS)]

    def line(self, pruner: str | None) -> Any:
        """Return the line style of a pruner."""
        return _LINES[self._pruner(pruner) % len(_LINES)]

    def fill(self, pruner: str | None) -> Literal["full", "none", "left", "right", "top", "bottom"]:
        """Return the fill style of a pruner's markers."""
        return _FILLS[self._pruner(pruner) % len(_FILLS)]

    def handles(self) -> list[Artist]:
        """Return legend entries: the schemes, then the pruners where there are several."""
        found: list[Artist] = [
            Line2D([], [], color=self.colour(name), marker=self.marker(name), linestyle="", label=shorten(name, 30))
            for name in self.schemes
        ]
        if len(self.pruners) > 1:
            found += [
                Line2D(
                    [],
                    [],
                    color=MUTED,
                    marker="o",
                    linestyle=self.line(name),
                    fillstyle=self.fill(name),
                    label=shorten(name, 30),
                )
                for name in self.pruners
            ]
        return found

    def _place(self, scheme: str) -> int:
        if scheme in _KNOWN:
            return _KNOWN.index(scheme)
        return len(_KNOWN) - 1 - [name for name in self.schemes if name not in _KNOWN].index(scheme)

    def _pruner(self, pruner: str | None) -> int:
        return self.pruners.index(pruner) if pruner in self.pruners else 0


@contextmanager
def look() -> Iterator[None]:
    """Draw and save under this package's own settings, whatever the user's matplotlib is set to."""
    with style.context(["default", _LOOK]), warnings.catch_warnings():
        # A name in a script that the font lacks shows as boxes; the tables have it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def panels(count: int, size: tuple[float, float] = (7.2, 4.4)) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``count`` panels that share their axes, three in a row at most."""
    columns = _columns(count)
    rows = math.ceil(count / columns)
    width, height = size if count == 1 else (1.2 + 3.3 * columns, 0.9 + 2.9 * rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _columns(count: int) -> int:
    return 2 if count == 4 else min(3, count)


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Put one legend below the panels, where it hides no data."""
    width = figure.get_size_inches()[0]
    columns = max(2, min(len(handles), int(width / 1.35)))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)


def label_axes(axes: Sequence[Axes], x: str, y: str) -> None:
    """Label the x axis of the lowest panels and the y axis of the leftmost."""
    columns = _columns(len(axes))
    for number, axis in enumerate(axes):
        if number + columns >= len(axes):  # nothing below it: the last row may not be full
            axis.set_xlabel(x)
            axis.tick_params(labelbottom=True)
        if number % columns == 0:
            axis.set_ylabel(y)


def fit_log(axes: Sequence[Axes], values: Sequence[float]) -> None:
    """Give the x axis a logarithmic scale with plain numbers, and room for labels at both ends."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.09, 1.12)
    low, high = low / room, high * room
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps: tuple[float, ...] = (1, 2, 5) if high / low < 2000 else (1,)
    if high / low < 8:
        steps = (1, 1.5, 2, 3, 4, 5, 6, 8) if high / low > 2 else tuple(1 + step / 10 for step in range(90))
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xlim(low, high)
        plain_ticks(axis.xaxis, inside[:: max(1, math.ceil(len(inside) / 8))])


def plain_ticks(axis: Axis, ticks: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """Set ticks where given, written as plain numbers or as ``labels``."""
    names = dict(zip(ticks, labels, strict=True)) if labels is not None else {}
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: names.get(value, f"{value:.6g}")))


def fit_percent(axes: Sequence[Axes], lows: Sequence[float], highs: Sequence[float]) -> None:
    """Give the y axis, in percent, the range of the data and some room, within 0 to 100."""
    low, high = min(lows), max(highs)
    room = max(0.08 * (high - low), 0.4)
    for axis in axes:
        axis.set_ylim(max(-1.0, low - room), min(101.0, high + room))


def png_and_svg(figure: Figure) -> dict[str, bytes]:
    """Return a figure as PNG and SVG; the same figure gives the same bytes, without dates or version numbers."""
    found = {}
    metadata: dict[str, dict[str, Any]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
    for kind, without in metadata.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=without)
        found[kind] = buffer.getvalue()
    return found
