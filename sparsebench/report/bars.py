"""Latency and size as bars: the dense network of each scheme and backend, and its pruned versions as marks on them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sparsebench.points.points import Point, Section
from sparsebench.report.canvas import POINTS, fitting, legend, text_width, titles
from sparsebench.report.palette import INK, MUTED, Palette
from sparsebench.report.tradeoffs import Placed, latency_interval
from sparsebench.wording.numbers import ratio, significant
from sparsebench.wording.text import counted, shorten

MOST_SPREAD = 12
"""Pruned networks of one bar up to which they stand one below another, each with its interval."""


@dataclass(frozen=True)
class Mark:
    """A pruned network on a bar."""

    value: float
    low: float
    high: float
    point: Point


@dataclass(frozen=True)
class Bar:
    """One bar: where it stands, its scheme, the values of its dense and of its pruned points, and its label.

    ``value`` is what the bar shows, with the interval from ``low`` to ``high``; ``beyond`` is where the tick for the
    95th percentile or, for sizes, the pale bar stands.
    """

    y: int
    backend: str
    scheme: str
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
class Layout:
    """Bars from top to bottom, and the names of backends above theirs where there are several."""

    bars: tuple[Bar, ...]
    headings: tuple[tuple[int, str], ...]

    @property
    def slots(self) -> int:
        """Rows, those of headings included."""
        return len(self.bars) + len(self.headings)


def latency_bars(section: Section) -> Layout:
    """Return the latencies of a section as bars, with the intervals of their speedups."""
    return _layout(section, lambda p: latency_interval(section, p), lambda p: _p95(section, p), _latency_label)


def size_bars(section: Section) -> Layout:
    """Return the file sizes of a section as bars."""
    return _layout(section, lambda p: _exact(p.deflated_file_bytes), lambda p: _kilobytes(p.file_bytes), _size_label)


def latency(section: Section) -> Figure | None:
    """Draw latencies with the intervals of their speedups; None where nothing was timed."""
    layout = latency_bars(section)
    if section.setting is None or not layout.bars:
        return None
    batch, threads = section.setting
    figure, axis = _canvas(section, layout)
    palette = Palette(section.schemes, section.pruners)
    for bar in layout.bars:
        axis.barh(bar.y, bar.value, height=0.72, color=palette.colour(bar.scheme), linewidth=0)
        if bar.low < bar.high:
            # White around the interval keeps it visible on the bar itself.
            axis.errorbar(bar.value, bar.y, xerr=_reach(bar), color="white", elinewidth=3.2, capsize=4.4, capthick=3.2)
            axis.errorbar(bar.value, bar.y, xerr=_reach(bar), color=INK, elinewidth=1.3, capsize=3.5, capthick=1.3)
        if bar.beyond:
            axis.plot([bar.beyond], [bar.y], marker="|", markersize=11, color=MUTED, markeredgewidth=1.6)
        _marks(axis, bar)
    first = layout.bars[0]
    if first.dense and first.dense.is_baseline:
        axis.axvline(first.value, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axis.set_xlabel(f"latency in pairs, ms (batch {batch}, {counted(threads, 'thread')})")
    interval = Line2D([], [], color=INK, marker="|", markersize=7, label="95 % interval")
    tick = Line2D([], [], color=MUTED, marker="|", markersize=9, markeredgewidth=1.6, linestyle="", label="p95")
    legend(figure, [Patch(facecolor=MUTED, label="dense"), interval, tick, *_pruned_handle(layout)])
    return figure


def size(section: Section) -> Figure | None:
    """Draw saved and deflated file size; None where nothing was compressed."""
    layout = size_bars(section)
    if not layout.bars:
        return None
    figure, axis = _canvas(section, layout)
    palette = Palette(section.schemes, section.pruners)
    for bar in layout.bars:
        axis.barh(bar.y, bar.beyond, height=0.72, color=palette.colour(bar.scheme), alpha=0.3, linewidth=0)
        axis.barh(bar.y, bar.value, height=0.5, color=palette.colour(bar.scheme), linewidth=0)
        _marks(axis, bar)
    axis.set_xlabel("file size, kB")
    pale, full = Patch(facecolor=MUTED, alpha=0.3), Patch(facecolor=MUTED)
    pale.set_label("saved, dense")
    full.set_label("deflated, dense")
    legend(figure, [pale, full, *_pruned_handle(layout)])
    return figure


def _p95(section: Section, point: Point) -> float | None:
    timing = point.timing(section.setting)
    return timing.p95_ms.mean if timing else None


def _kilobytes(size_bytes: float | None) -> float | None:
    return None if size_bytes is None else size_bytes / 1000


def _exact(size_bytes: float | None) -> Placed | None:
    return None if size_bytes is None else (size_bytes / 1000,) * 3


def _latency_label(section: Section, dense: Point | None, value: float, beyond: float, marks: Sequence[Mark]) -> str:
    """Return milliseconds, and the speedup where a verdict stands behind it."""
    del beyond, marks
    timing = dense.timing(section.setting) if dense else None
    if timing is None:
        return "pruned only"
    text, said = significant(value), timing.reference.said
    return f"{text} · {said} {ratio(timing.reference.speedup)}" if said in {"FASTER", "SLOWER"} else text


def _size_label(section: Section, dense: Point | None, value: float, beyond: float, marks: Sequence[Mark]) -> str:
    """Return saved and deflated size of the dense network, and the smallest of the pruned ones."""
    del section
    texts = [f"{significant(beyond)} → {significant(value)}"] if dense else []
    if marks:
        smallest = min(marks, key=lambda mark: (mark.value, mark.point.threshold))
        texts.append(f"{significant(smallest.value)} at {smallest.point.threshold:g}")
    return "; ".join(texts)


def _layout(
    section: Section,
    inner: Callable[[Point], Placed | None],
    outer: Callable[[Point], float | None],
    label: Callable[[Section, Point | None, float, float, Sequence[Mark]], str],
) -> Layout:
    """Place the bars of each backend below each other, without those that would have nothing to show."""
    bars: list[Bar] = []
    headings: list[tuple[int, str]] = []
    for backend in section.backends:
        valued = [(value, point) for point in section.on(backend) if (value := inner(point)) is not None]
        if valued and len(section.backends) > 1:
            headings.append((len(bars) + len(headings), shorten(backend, 30)))
        for scheme in section.schemes:
            here = [(value, point) for value, point in valued if point.scheme == scheme]
            if not here:
                continue
            ends, dense = next(((v, p) for v, p in here if p.dense), ((0.0, 0.0, 0.0), None))
            beyond = (outer(dense) or 0.0) if dense else 0.0
            marks = tuple(Mark(*v, p) for v, p in here if not p.dense)
            text = label(section, dense, ends[0], beyond, marks)
            y = len(bars) + len(headings)
            bars.append(Bar(y, backend, scheme, dense, *ends, beyond, marks, text))
    return Layout(tuple(bars), tuple(headings))


def _reach(bar: Bar) -> list[list[float]]:
    return [[max(0.0, bar.value - bar.low)], [max(0.0, bar.high - bar.value)]]


def _canvas(section: Section, layout: Layout) -> tuple[Figure, Axes]:
    """Return a figure as high as its bars need, with their names, and their labels on the right."""
    figure = Figure(figsize=(7.2, 1.6 + 0.34 * layout.slots), layout="constrained")
    axis = figure.subplots()
    names = {**{bar.y: fitting(bar.scheme, 130, 9.5) for bar in layout.bars}, **dict(layout.headings)}
    axis.set_yticks(sorted(names), [names[y] for y in sorted(names)])
    headings = dict(layout.headings)
    for y, tick in zip(sorted(names), axis.get_yticklabels(), strict=True):
        tick.set_fontweight("bold" if y in headings else "normal")
    titles(figure, [axis], section.title, () if layout.headings else section.backends[:1])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_ylim(layout.slots - 0.4, -0.6)
    axis.set_xlim(0, _right(layout, names.values()))
    for bar in layout.bars:
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
    return figure, axis


def _right(layout: Layout, names: Iterable[str]) -> float:
    """Return where the x axis must end so that every label beyond its bar stays inside."""
    room = 7.2 * POINTS - max(text_width(name, 10.5) for name in names) - 24
    return max(bar.end / max(0.2, 1 - (text_width(bar.label, 8) + 14) / room) for bar in layout.bars) or 1.0


def _marks(axis: Axes, bar: Bar) -> None:
    """Draw the pruned networks of a bar: below each other from the least to the most pruned, where they are few."""
    marks = sorted(bar.marks, key=lambda mark: mark.point.threshold)
    spread = len(marks) <= MOST_SPREAD and any(mark.low < mark.high for mark in marks)
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


def _pruned_handle(layout: Layout) -> Iterator[Artist]:
    if any(bar.marks for bar in layout.bars):
        yield Line2D([], [], color=INK, marker="D", markerfacecolor="white", linestyle="", markersize=5, label="pruned")
