"""Latency and size as bars: the dense network of each scheme and backend, and its pruned versions as marks on them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sparsebench.report.canvas import INK, MUTED, Palette, legend
from sparsebench.report.numbers import ratio, significant
from sparsebench.report.points import Point, Section
from sparsebench.report.text import counted, shorten

Value = Callable[[Point], float | None]


@dataclass(frozen=True)
class Bar:
    """One bar: where it stands, its scheme, and the values of its dense and of its pruned points.

    ``inner`` is what the full bar shows; ``outer`` is where the whisker or, for sizes, the pale bar ends. ``pruned``
    pairs the inner value of each pruned point with its threshold.
    """

    y: int
    scheme: str
    dense: Point | None
    inner: float
    outer: float
    pruned: tuple[tuple[float, float], ...]

    @property
    def end(self) -> float:
        """Where all that is drawn of this bar ends."""
        return max(self.inner, self.outer, *(x for x, _ in self.pruned), 0.0)


@dataclass(frozen=True)
class Layout:
    """Bars from top to bottom, and the names of backends above theirs where there are several."""

    bars: tuple[Bar, ...]
    headings: tuple[tuple[int, str], ...]

    @property
    def slots(self) -> int:
        """Rows, those of headings included."""
        return len(self.bars) + len(self.headings)


def latency(section: Section) -> Figure | None:
    """Draw median latency; None where nothing was timed."""
    if section.setting is None:
        return None
    batch, threads = section.setting

    def median(point: Point) -> float | None:
        timing = point.timing(section.setting)
        return timing.median_ms.mean if timing else None

    def p95(point: Point) -> float | None:
        timing = point.timing(section.setting)
        return timing.p95_ms.mean if timing else None

    layout = _layout(section, median, p95)
    figure, axis = _canvas(section, layout, 1.3)
    palette = Palette(section.schemes, section.pruners)
    for bar in layout.bars:
        axis.hlines(bar.y, bar.inner, bar.outer, color=MUTED, linewidth=1.4)
        axis.barh(bar.y, bar.inner, height=0.72, color=palette.colour(bar.scheme), linewidth=0)
        _marks(axis, bar, _latency_label(bar, section))
    first = layout.bars[0].dense
    if first and first.is_baseline:
        axis.axvline(layout.bars[0].inner, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axis.set_xlabel(f"median latency, ms (batch {batch}, {counted(threads, 'thread')})")
    whisker = Line2D([], [], color=MUTED, label="95th percentile")
    legend(figure, [Patch(facecolor=MUTED, label="dense"), whisker, *_pruned_handle(layout)])
    return figure


def _latency_label(bar: Bar, section: Section) -> str:
    """Return milliseconds, and the speedup where a verdict stands behind it."""
    timing = bar.dense.timing(section.setting) if bar.dense else None
    if timing is None:
        return "pruned only"
    text, said = significant(bar.inner), timing.reference.said
    return f"{text} · {said} {ratio(timing.reference.speedup)}" if said in {"FASTER", "SLOWER"} else text


def size(section: Section) -> Figure | None:
    """Draw saved and deflated file size; None where nothing was compressed."""
    layout = _layout(section, lambda p: _kilobytes(p.deflated_file_bytes), lambda p: _kilobytes(p.file_bytes))
    if not layout.bars:
        return None
    figure, axis = _canvas(section, layout, 1.34)
    palette = Palette(section.schemes, section.pruners)
    for bar in layout.bars:
        axis.barh(bar.y, bar.outer, height=0.72, color=palette.colour(bar.scheme), alpha=0.3, linewidth=0)
        axis.barh(bar.y, bar.inner, height=0.5, color=palette.colour(bar.scheme), linewidth=0)
        texts = [f"{significant(bar.outer)} → {significant(bar.inner)}"] if bar.dense else []
        if bar.pruned:
            smallest, threshold = min(bar.pruned)
            texts.append(f"{significant(smallest)} at {threshold:g}")
        _marks(axis, bar, "; ".join(texts))
    axis.set_xlabel("file size, kB")
    pale, full = Patch(facecolor=MUTED, alpha=0.3), Patch(facecolor=MUTED)
    pale.set_label("saved, dense")
    full.set_label("deflated, dense")
    legend(figure, [pale, full, *_pruned_handle(layout)])
    return figure


def _kilobytes(size_bytes: float | None) -> float | None:
    return None if size_bytes is None else size_bytes / 1000


def _layout(section: Section, inner: Value, outer: Value) -> Layout:
    """Place the bars of each backend below each other, without those that would have nothing to show."""
    bars: list[Bar] = []
    headings: list[tuple[int, str]] = []
    for backend in section.backends:
        valued = [(value, point) for point in section.on(backend) if (value := inner(point)) is not None]
        if valued and len(section.backends) > 1:
            headings.append((len(bars) + len(headings), shorten(backend, 30)))
        for scheme in section.schemes:
            here = [(value, point) for value, point in valued if point.scheme == scheme]
            dense = next(((value, point) for value, point in here if point.dense), None)
            if here:
                bars.append(
                    Bar(
                        y=len(bars) + len(headings),
                        scheme=scheme,
                        dense=dense[1] if dense else None,
                        inner=dense[0] if dense else 0.0,
                        outer=(outer(dense[1]) or 0.0) if dense else 0.0,
                        pruned=tuple((value, point.threshold) for value, point in here if not point.dense),
                    )
                )
    return Layout(tuple(bars), tuple(headings))


def _canvas(section: Section, layout: Layout, room: float) -> tuple[Figure, Axes]:
    """Return a figure as high as its bars need, with their names, and room for their labels on the right."""
    figure = Figure(figsize=(7.2, 1.5 + 0.34 * layout.slots), layout="constrained")
    axis = figure.subplots()
    names = {**{bar.y: shorten(bar.scheme, 30) for bar in layout.bars}, **dict(layout.headings)}
    axis.set_yticks(sorted(names), [names[y] for y in sorted(names)])
    headings = dict(layout.headings)
    for y, tick in zip(sorted(names), axis.get_yticklabels(), strict=True):
        tick.set_fontweight("bold" if y in headings else "normal")
    if not layout.headings:
        axis.set_title(shorten(section.backends[0], 40))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_ylim(layout.slots - 0.4, -0.6)
    axis.set_xlim(0, room * max(bar.end for bar in layout.bars) or 1.0)
    return figure, axis


def _marks(axis: Axes, bar: Bar, label: str) -> None:
    """Draw the pruned networks of a bar, and write its label beyond all of it."""
    axis.plot(
        [x for x, _ in bar.pruned],
        [bar.y] * len(bar.pruned),
        linestyle="",
        marker="D",
        markersize=4.5,
        markeredgecolor=INK,
        markerfacecolor="white",
        markeredgewidth=0.8,
        zorder=4,
    )
    axis.annotate(label, (bar.end, bar.y), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8)


def _pruned_handle(layout: Layout) -> Iterator[Artist]:
    if any(bar.pruned for bar in layout.bars):
        yield Line2D([], [], color=INK, marker="D", markerfacecolor="white", linestyle="", markersize=5, label="pruned")
