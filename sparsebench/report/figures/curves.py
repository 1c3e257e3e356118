"""Accuracy as lines: against the sparsity reached, and against the number of calibration batches read."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from matplotlib import colormaps
from matplotlib.colors import to_hex

from sparsebench.points.points import Point, Section
from sparsebench.report.calibration import batches_read
from sparsebench.report.figures.axes import log_axis, metric_axis
from sparsebench.report.figures.chart import Axis, Key, Level, Look, Panel, PanelChart, Series, spot_of
from sparsebench.report.figures.palette import MUTED, Palette
from sparsebench.wording.text import evenly

SIDEWAYS = 0.03
"""How far apart the outermost schemes stand at most in a picture, as a fraction of the width of the axis."""

_RAMP_END = 0.85
"""Where the colours of thresholds end: beyond, viridis is a yellow that is lost on white."""

SIDEWAYS_ON_LOG = 0.012
"""The same of neighbouring thresholds on an axis of calibration batches, so that error bars can be seen."""

MOST_NAMED = 14
"""Thresholds that the legend names; of more, evenly spaced ones."""


def accuracy_against_sparsity(section: Section) -> PanelChart | None:
    """Describe accuracy against the sparsity reached; None where fewer than two thresholds have an accuracy.

    The axis is log(1 / (1 − sparsity)), the logarithm of the compression by zeros alone: 50, 75 and 87.5 % stand
    equally far apart, and the end, where accuracy breaks down, gets the room it needs.
    """
    points = [point for point in section.shown if point.value and point.sparsity]
    if len({point.threshold for point in points}) < 2:
        return None
    backends = [backend for backend in section.backends if any(p.backend == backend for p in points)]
    width = max(map(_place, points)) or 1.0
    ticks = _ticks(points, (0.075 if len(backends) == 1 else 0.13) * width)
    palette = Palette(section)
    apart = SIDEWAYS * width / max(3, len(palette.schemes) - 1)
    return PanelChart(
        title=section.title,
        setting=section.setting,
        panels=tuple(_panel(name, [p for p in points if p.backend == name], palette, apart) for name in backends),
        x=Axis("sparsity of prunable weights, %", (-0.08 * width, 1.08 * width), ticks),
        y=metric_axis([spot_of(point, 0.0) for point in points], section.scale),
        legend=(palette.scheme_keys(), palette.pruner_keys()),
    )


def _place(point: Point) -> float:
    """Return a point's place on the axis; a network without any weight left stands where 1 in a million is."""
    reached = point.sparsity.mean if point.sparsity else 0.0
    return -math.log(max(1.0 - reached, 1e-6))


def _panel(backend: str, points: Sequence[Point], palette: Palette, apart: float) -> Panel:
    dense = next((spot_of(point, 0.0) for point in points if point.is_baseline), None)
    series = []
    for number, scheme in enumerate(palette.schemes):
        shift = apart * (number - (len(palette.schemes) - 1) / 2)
        for pruner in palette.pruners:
            line = [p for p in points if p.scheme == scheme and (p.dense or p.pruner == pruner)]
            spots = tuple(spot_of(point, _place(point)) for point in sorted(line, key=_place))
            if spots:
                moved = tuple(spot.x + shift for spot in spots)
                series.append(Series(palette.name(scheme, pruner), palette.look(scheme, pruner), spots, moved=moved))
    return Panel(backend, tuple(series), (Level(dense.y, MUTED),) if dense else ())


def _ticks(points: Sequence[Point], apart: float) -> dict[float, str]:
    """Name the sparsities reached, from the most to the least, leaving out those that would touch another."""
    places: dict[float, float] = {}
    for point in points:
        places.setdefault(point.threshold, _place(point))
    kept: dict[float, str] = {}
    ordered = sorted(places.items())
    # Both ends are always named; between them, as many as fit.
    for threshold, place in [ordered[0], ordered[-1], *ordered[-2:0:-1]]:
        if all(abs(place - other) > apart for other in kept):
            kept[place] = f"{100 * threshold:.4g}"
    return dict(sorted(kept.items()))


def accuracy_against_batches(section: Section) -> PanelChart | None:
    """Describe accuracy against calibration batches; None where fewer than two numbers of them have an accuracy.

    Colour tells the threshold, from dense to the most pruned; levels are those of fp32 on the same backend.
    """
    grouped: defaultdict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in section.measured:
        if point.calibration_batches and point.value and batches_read(point):
            grouped[point.backend, point.scheme].append(point)
    points = [point for here in grouped.values() for point in here]
    read = sorted({batches_read(point) or 0.0 for point in points})
    if len(read) < 2:
        return None
    references = [point for point in section.shown if point.scheme == "fp32" and point.value]
    ticks = _apart(read, 14 if len(grouped) == 1 else 7)
    x = log_axis("calibration batches read (logarithmic)", read, len(grouped), ticks)
    step = (x.ends[1] / x.ends[0]) ** SIDEWAYS_ON_LOG
    colours = _colours(section.thresholds)
    palette = Palette(section)
    keys = [
        Key(f"{threshold:g}" if threshold else "dense", Look(colours[threshold], dash="solid"))
        for threshold in evenly(section.thresholds, MOST_NAMED)
    ]
    return PanelChart(
        title=section.title,
        setting=section.setting,
        panels=tuple(
            Panel(
                f"{scheme} on {backend}",
                tuple(_series(here, palette, colours, step)),
                tuple(
                    Level(point.scale.factor * point.value.mean, colours[point.threshold], 0.7)
                    for point in references
                    if point.backend == backend and point.value
                ),
            )
            for (backend, scheme), here in grouped.items()
        ),
        x=x,
        y=metric_axis([spot_of(point, 0.0) for point in (*points, *references)], section.scale),
        legend=((*keys, Key("fp32", Look(MUTED, dash="reference"))), palette.pruner_keys()),
    )


def _colours(thresholds: Sequence[float]) -> dict[float, str]:
    """Return the colour of each threshold, from dark for dense to light for the most pruned."""
    last, ramp = max(1, len(thresholds) - 1), colormaps["viridis"]
    return {threshold: to_hex(ramp(_RAMP_END * (place / last))) for place, threshold in enumerate(thresholds)}


def _series(points: Sequence[Point], palette: Palette, colours: dict[float, str], step: float) -> Iterable[Series]:
    lines: defaultdict[tuple[str | None, float], list[Point]] = defaultdict(list)
    for point in points:
        lines[point.pruner, point.threshold].append(point)
    for (pruner, threshold), line in lines.items():
        shift = step ** (list(colours).index(threshold) - (len(colours) - 1) / 2)
        spots = sorted((spot_of(point, batches_read(point) or 0.0) for point in line), key=lambda spot: spot.x)
        look = replace(palette.look(line[0].scheme, pruner), colour=colours[threshold])
        yield Series(line[0].pruning, look, tuple(spots), moved=tuple(spot.x * shift for spot in spots))


def _apart(values: Sequence[float], most: int) -> list[float]:
    """Return those of ascending values that stand at least 1 / ``most`` of a logarithmic axis apart."""
    step = (values[-1] / values[0]) ** (1 / most)
    kept = [values[-1]]
    for value in reversed(values):
        if kept[-1] / value > step:
            kept.append(value)
    return kept[::-1]
