"""What a figure shows, described once for all who draw it: pictures by matplotlib, charts of a page by plotly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from sparsebench.points.latency import Setting
from sparsebench.points.points import Point
from sparsebench.wording.text import evenly

Row = TypeVar("Row")

Fill = Literal["full", "none", "left", "right", "top", "bottom"]

MOST_SPREAD = 12
"""Pruned networks of one bar up to which they stand one below another, each with its interval."""

FAINT = 0.35
"""How much ink a dominated point gets."""

_LETTERS_OF_A_ROW = 120
"""How many letters of axis titles have room side by side, in a figure as in a window of 1,280 points."""


@dataclass(frozen=True)
class Look:
    """Colour (#rrggbb), marker and fill by matplotlib's names, and by plotly's the dashes that join marks, if any."""

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
    """One panel: its series, levels behind them, and on a trade-off the front and what the answer names.

    ``front`` is joined by a line in steps; ``ringed`` has the named networks with what they are named for, ``beside``
    the dense network, which is labelled too.
    """

    title: str
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    front: tuple[Spot, ...] = ()
    beside: tuple[Spot, ...] = ()
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
    """Panels that share their axes; ``spoken`` says what is best for those who cannot see it.

    ``left_out`` counts the points that have broken down and are not shown.
    """

    title: str
    setting: Setting | None
    panels: tuple[Panel, ...]
    x: Axis
    y: Axis
    legend: tuple[tuple[Key, ...], ...]
    spoken: str = ""
    left_out: int = 0

    @property
    def columns(self) -> int:
        """How many panels stand in a row."""
        return 2 if len(self.panels) == 4 else min(3, len(self.panels))

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

    ``value`` is what the bar shows, with the interval from ``low`` to ``high``; ``beyond`` is where, for sizes,
    the pale bar ends.
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
    def spread(self) -> bool:
        """Whether its pruned networks are few enough to be shown with their intervals, where they have any."""
        return len(self.marks) <= MOST_SPREAD and any(mark.low < mark.high for mark in self.marks)

    @property
    def end(self) -> float:
        """Where all that is drawn of this bar ends."""
        ends = (mark.high if self.spread else mark.value for mark in self.marks)
        return max(self.value, self.high, self.beyond, *ends, 0.0)


@dataclass(frozen=True)
class BarChart:
    """Bars from top to bottom, the names of backends above theirs where there are several, and a dashed ``reference``.

    ``beyond`` says what stands at that place of a bar, with {} for the value; ``pale`` whether it is a pale bar.
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

    @property
    def written(self) -> bool:
        """Whether every cell carries its text; there are few enough of them."""
        return self.cells.size <= 400


class Cell(NamedTuple):
    """What stands at one row and threshold of a grid."""

    value: float
    text: str
    outlined: bool = False


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


def spot_of(point: Point, x: float, x_low: float | None = None, x_high: float | None = None) -> Spot:
    """Return a point that was evaluated at its place: its metric as it is read above ``x``, with its error bar.

    The bar is ± the sample standard deviation over seeds, or the interval of a single seed. A point that has one
    seed in a run of several has no bar: it would mean another thing than its neighbours'.
    """
    if point.value is None:
        raise ValueError(f"{point.label} was not evaluated")
    mean, deviation, factor = point.value.mean, point.value.std, point.scale.factor
    ends = (mean, mean)
    scored = next((seed.trial.evaluated for seed in point.seeds if seed.trial.evaluated), None)
    if deviation is not None:
        ends = (mean - deviation, mean + deviation)
    elif point.planned == 1 and scored is not None and scored.low is not None and scored.high is not None:
        ends = (scored.low, scored.high)
    return Spot(x, factor * mean, factor * ends[0], factor * ends[1], point, x_low, x_high)


def places(spots: Sequence[Spot]) -> tuple[list[float], list[float]]:
    """Return where spots are, along x and along y."""
    return [spot.x for spot in spots], [spot.y for spot in spots]


def reach(low: Sequence[float], middle: Sequence[float], high: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return how far error bars reach down and up from their middles."""
    below = [max(0.0, at - end) for at, end in zip(middle, low, strict=True)]
    return below, [max(0.0, end - at) for at, end in zip(middle, high, strict=True)]


def grid_of(title: str, rows: Sequence[Row], cells: Mapping[tuple[Row, float], Cell], most: int) -> Grid:
    """Return cells by row and threshold as a grid; of more than ``most`` thresholds, evenly spaced ones are shown."""
    thresholds = evenly(sorted({threshold for _, threshold in cells}), most)
    found = [[cells.get((row, threshold)) for threshold in thresholds] for row in rows]
    return Grid(
        title,
        tuple(f"{threshold:g}" for threshold in thresholds),
        np.array([[cell.value if cell else np.nan for cell in row] for row in found]),
        tuple(tuple(cell.text if cell else "" for cell in row) for row in found),
        frozenset((y, x) for y, row in enumerate(found) for x, cell in enumerate(row) if cell and cell.outlined),
    )
