"""What a figure shows, described once for all who draw it: pictures by matplotlib, charts of a page by plotly."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Literal, NamedTuple

import numpy as np

from sparsebench.points.latency import Setting
from sparsebench.points.points import Point, Section

Fill = Literal["full", "none", "left", "right", "top", "bottom"]

FAINT = 0.3
"""How much ink a dominated point gets."""

_LETTERS_OF_A_ROW = 120
"""How many letters of axis titles have room side by side, in a figure as in a window of 1,280 points."""


@dataclass(frozen=True)
class Look:
    """Colour (#rrggbb), marker (none where empty) and its fill, and the dashes that join marks (unjoined where empty).

    Markers and fills have matplotlib's names, dashes plotly's.
    """

    colour: str
    marker: str = ""
    fill: Fill = "full"
    dash: str = ""


class Key(NamedTuple):
    """An entry of a legend; ``dash`` is "reference" for the dashes of levels."""

    label: str
    look: Look


class Spot(NamedTuple):
    """A point in a figure: its place, and the ends of both error bars."""

    x: float
    y: float
    low: float
    high: float
    point: Point
    x_low: float | None = None
    x_high: float | None = None

    @property
    def name(self) -> str:
        """How it is labelled where there is room."""
        return "dense" if self.point.dense else f"{self.point.threshold:g}"

    @property
    def sideways(self) -> tuple[float, float]:
        """The ends of the interval along x; both ``x`` where there is none."""
        return self.x_low or self.x, self.x_high or self.x


@dataclass(frozen=True)
class Series:
    """Spots of one look.

    ``moved`` are their places in a picture, where they stand a little apart sideways from other series; a page shows
    them where they are.
    """

    name: str
    look: Look
    spots: tuple[Spot, ...]
    faint: bool = False
    bars: bool = True
    moved: tuple[float, ...] = ()


class Level(NamedTuple):
    """A dashed line across a panel."""

    y: float
    colour: str
    ink: float = 1.0


@dataclass(frozen=True)
class Panel:
    """One panel: its series, levels behind them, and on a trade-off the fronts and what the first line picks.

    ``front`` is joined by a line in steps, ``overall`` (that of all panels) by a dotted one; ``ringed`` has the picks
    with what they are picked for.
    """

    title: str
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    front: tuple[Spot, ...] = ()
    overall: tuple[Spot, ...] = ()
    ringed: tuple[tuple[Spot, str], ...] = ()


@dataclass(frozen=True)
class Axis:
    """An axis: its title, its ends, its ticks with their texts (chosen by who draws it where empty), and its scale."""

    title: str
    ends: tuple[float, float]
    ticks: dict[float, str] = field(default_factory=dict)
    log: bool = False


@dataclass(frozen=True)
class PanelChart:
    """Panels that share their axes; ``spoken`` says what is best for those who cannot see it."""

    title: str
    setting: Setting | None
    panels: tuple[Panel, ...]
    x: Axis
    y: Axis
    legend: tuple[tuple[Key, ...], ...]
    spoken: str = ""

    @property
    def columns(self) -> int:
        """How many panels stand in a row."""
        return columns_of(len(self.panels))

    @property
    def lines_of_title(self) -> list[str]:
        """The title of the x axis in lines so short that those of panels side by side do not meet."""
        return wrap(self.x.title, _LETTERS_OF_A_ROW // self.columns)

    @property
    def spots(self) -> list[Spot]:
        """All spots of all panels."""
        return [spot for panel in self.panels for series in panel.series for spot in series.spots]


class Mark(NamedTuple):
    """A pruned network on a bar, with the ends of its interval."""

    value: float
    low: float
    high: float
    point: Point


@dataclass(frozen=True)
class Bar:
    """One bar: its row, its scheme, the values of its dense and of its pruned points, and its label.

    ``value`` is what the bar shows, with the interval from ``low`` to ``high``; ``beyond`` is where the tick for the
    95th percentile or, for sizes, the pale bar ends.
    """

    y: int
    scheme: str
    colour: str
    dense: Point | None
    value: float
    low: float
    high: float
    beyond: float
    marks: tuple[Mark, ...]
    label: str

    @property
    def end(self) -> float:
        """Where all that is drawn of this bar ends."""
        return max(self.value, self.high, self.beyond, *(mark.high for mark in self.marks), 0.0)


@dataclass(frozen=True)
class BarChart:
    """Bars from top to bottom, and the names of backends above theirs where there are several.

    ``beyond`` says what stands at that place of a bar, with {} for the value; ``pale`` whether it is a pale bar. Where
    ``reference`` is not None, a dashed line stands there.
    """

    title: str
    name: str
    setting: Setting | None
    x_title: str
    bars: tuple[Bar, ...]
    headings: dict[int, str]
    beyond: str
    pale: bool
    reference: float | None

    @property
    def slots(self) -> int:
        """Rows, those of headings included."""
        return len(self.bars) + len(self.headings)


@dataclass(frozen=True)
class Grid:
    """One grid: its title and columns, its cells (rows × columns, NaN where there is nothing), and what stands in them.

    ``outlined`` cells are to be noticed.
    """

    title: str
    columns: tuple[str, ...]
    cells: np.ndarray
    texts: tuple[tuple[str, ...], ...]
    outlined: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class HeatMap:
    """Grids side by side, the names of the rows that they share, and what their colours mean."""

    title: str
    grids: tuple[Grid, ...]
    rows: tuple[str, ...]
    x_title: str
    colours: Literal["cividis", "PuOr_r"]
    low: float
    high: float
    scale_title: str
    unit: str
    ticks: dict[float, str] = field(default_factory=dict)
    outline: str = "#D55E00"


Chart = PanelChart | BarChart | HeatMap

MOST_NUMBERS = 400
"""Cells of a grid up to which every cell carries its text."""

Describe = Callable[[Section], Chart | None]
"""Describes one kind of figure of a section; None where its records have nothing to show."""


def columns_of(count: int) -> int:
    """Return how many of ``count`` panels stand in a row."""
    return 2 if count == 4 else min(3, count)


def spot_of(point: Point, x: float, x_low: float | None = None, x_high: float | None = None) -> Spot:
    """Return a point that has an accuracy at its place: top-1 in percent above ``x``, with its error bar.

    The bar is ± the sample standard deviation over seeds, or Wilson's limits of a single seed. A point that has one
    seed in a run of several has no bar: it would mean another thing than its neighbours'.
    """
    if point.top1 is None:
        raise ValueError(f"{point.label} has no accuracy")
    mean, deviation = point.top1.mean, point.top1.std
    ends = (mean, mean)
    scored = next((seed.trial.evaluated for seed in point.seeds if seed.trial.evaluated), None)
    if deviation is not None:
        ends = (mean - deviation, mean + deviation)
    elif point.planned == 1 and scored is not None:
        ends = (scored.top1_low, scored.top1_high)
    return Spot(x, 100 * mean, 100 * ends[0], 100 * ends[1], point, x_low, x_high)


def accuracy_axis(spots: Sequence[Spot]) -> Axis:
    """Return the axis of accuracies: the range of the error bars and some room, hardly beyond 0 and 100."""
    low, high = min(spot.low for spot in spots), max(spot.high for spot in spots)
    room = max(0.08 * (high - low), 0.4)
    return Axis("top-1 accuracy, %", (max(-1.0, low - room), min(101.0, high + room)))


def log_axis(title: str, values: Sequence[float], panels: int, ticks: Sequence[float] = ()) -> Axis:
    """Return a logarithmic axis with room for labels at both ends; in narrow panels with fewer ticks."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.09, 1.12)
    ends = low / room, high * room
    ticks = ticks or _log_ticks(*ends, 8 if panels == 1 else 5)
    return Axis(title, ends, {tick: f"{tick:.6g}" for tick in ticks}, log=True)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers between the ends of a logarithmic axis, ``most`` of them or fewer."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps: tuple[float, ...] = (1, 2, 5) if high / low < 2000 else (1,)
    if high / low < 8:
        steps = (1, 1.5, 2, 3, 4, 5, 6, 8) if high / low > 2 else tuple(1 + step / 10 for step in range(90))
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside[:: max(1, math.ceil(len(inside) / most))]


def reach(low: Sequence[float], middle: Sequence[float], high: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return how far error bars reach down and up from their middles."""
    below = [max(0.0, at - end) for at, end in zip(middle, low, strict=True)]
    return below, [max(0.0, end - at) for at, end in zip(middle, high, strict=True)]
