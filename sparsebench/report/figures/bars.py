"""Latency and size as bars: the dense network of each scheme and backend, and its pruned versions as marks on them."""

from collections.abc import Callable, Sequence

from sparsebench.points.points import Point, Section
from sparsebench.report.figures.chart import Bar, BarChart, Mark
from sparsebench.report.figures.fronts import Placed, exact, latency_interval, latency_title
from sparsebench.report.figures.palette import Palette
from sparsebench.wording.numbers import ratio, significant
from sparsebench.wording.text import shorten


def latency(section: Section) -> BarChart | None:
    """Describe latencies with the intervals of their speedups; None where nothing was timed."""

    def label(dense: Point | None, value: float, beyond: float, marks: Sequence[Mark]) -> str:
        """Return milliseconds, and the speedup where a verdict stands behind it."""
        del beyond, marks
        timing = dense.timing(section.setting) if dense else None
        if timing is None:
            return "pruned only"
        text, said = significant(value), timing.reference.said
        return f"{text} · {said} {ratio(timing.reference.speedup)}" if said in {"FASTER", "SLOWER"} else text

    return _bars(
        section,
        latency_title(section),
        lambda point: latency_interval(section, point),
        lambda _: None,
        label,
        "",
        pale=False,
    )


def size(section: Section) -> BarChart | None:
    """Describe saved and deflated file sizes; None where nothing was compressed."""
    return _bars(
        section,
        "file size, kB",
        lambda point: exact(point.deflated_file_bytes, 1000),
        lambda point: point.file_bytes and point.file_bytes / 1000,
        _size_label,
        "saved: {} kB",
        pale=True,
    )


def _size_label(dense: Point | None, value: float, beyond: float, marks: Sequence[Mark]) -> str:
    """Return saved and deflated size of the dense network, and the smallest of the pruned ones."""
    texts = [f"{significant(beyond)} → {significant(value)}"] if dense else []
    if marks:
        smallest = min(marks, key=lambda mark: (mark.value, mark.point.threshold))
        texts.append(f"{significant(smallest.value)} at {smallest.point.threshold:g}")
    return "; ".join(texts)


def _bars(
    section: Section,
    x_title: str,
    inner: Callable[[Point], Placed | None],
    outer: Callable[[Point], float | None],
    label: Callable[[Point | None, float, float, Sequence[Mark]], str],
    beyond_text: str,
    pale: bool,
) -> BarChart | None:
    """Place the bars of each backend below each other, without those that would have nothing to show."""
    bars: list[Bar] = []
    headings: dict[int, str] = {}
    palette = Palette(section)
    for backend in section.backends:
        valued = [(value, point) for point in section.on(backend) if (value := inner(point)) is not None]
        if valued and len(section.backends) > 1:
            headings[len(bars) + len(headings)] = shorten(backend, 30)
        for scheme in section.schemes:
            here = [(value, point) for value, point in valued if point.scheme == scheme]
            if not here:
                continue
            ends, dense = next(((v, p) for v, p in here if p.dense), ((0.0, 0.0, 0.0), None))
            beyond = (outer(dense) or 0.0) if dense else 0.0
            marks = tuple(Mark(*v, p) for v, p in here if not p.dense)
            text = label(dense, ends[0], beyond, marks)
            y = len(bars) + len(headings)
            bars.append(Bar(y, scheme, palette.colour(scheme), dense, *ends, beyond, marks, text))
    if not bars:
        return None
    first = bars[0].dense
    return BarChart(
        title=section.title,
        name="" if headings else section.backends[0],
        setting=section.setting,
        x_title=x_title,
        bars=tuple(bars),
        headings=headings,
        beyond=beyond_text,
        pale=pale,
        reference=bars[0].value if first and first.is_baseline and not pale else None,
    )
