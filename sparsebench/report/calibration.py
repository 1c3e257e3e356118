"""How much calibration data a scheme needs: accuracy against the number of calibration batches."""

from collections import defaultdict
from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsebench.points.points import Point, Section
from sparsebench.report.canvas import fit_log, fit_percent, label_axes, legend, panels, plain_ticks, titles
from sparsebench.report.curves import error_bars
from sparsebench.report.palette import MUTED, Palette
from sparsebench.report.tradeoffs import error_bar
from sparsebench.statistics.spread import mean
from sparsebench.wording.numbers import DASH, mean_percent
from sparsebench.wording.tables import markdown_table
from sparsebench.wording.text import counted, escape, evenly, listing

_RAMP = colormaps["viridis"]
_RAMP_END = 0.85
"""Where the colours of thresholds end: beyond, viridis is a yellow that is lost on white."""

SIDEWAYS = 0.012
"""How far apart neighbouring thresholds stand, as a share of the logarithmic axis, so that error bars can be seen."""


MOST_NAMED = 14
"""Thresholds that the legend names; of more, evenly spaced ones."""


def batches_read(point: Point) -> float | None:
    """Return how many calibration batches were really read, mean over seeds; a training split may have fewer."""
    return mean(packed.calibration_batches for seed in point.seeds if (packed := seed.trial.compressed))


def calibration_note(section: Section) -> str:
    """Return what the numbers of calibration batches mean for the rest of the section, as one paragraph."""
    most = section.calibrations[-1]
    text = (
        "All other tables and figures, and the answer, show "
        f"{counted(most, 'calibration batch', 'calibration batches')}, the largest number asked for; latency was timed "
        "for that one only, since the numbers that calibration finds do not change the work."
    )
    read: defaultdict[float, set[int]] = defaultdict(set)
    for point in section.measured:
        found = batches_read(point) if point.calibration_batches else None
        if found is not None and point.calibration_batches:
            read[found].add(point.calibration_batches)
    for found, asked in sorted(read.items()):
        if len(asked) > 1:
            numbers = listing([f"{number:,}" for number in sorted(asked)])
            text += f" Asked for {numbers}, calibration read {found:g} each time: the training split has no more."
    return text


def calibration_table(section: Section) -> str:
    """Return top-1 accuracy at every number of calibration batches; one row a network and scheme that calibrates."""
    rows: defaultdict[tuple[str, ...], dict[int, str]] = defaultdict(dict)
    for point in section.measured:
        if point.calibration_batches is not None:
            row = (escape(point.pruning), escape(point.scheme), escape(point.backend))
            rows[row][point.calibration_batches] = mean_percent(point.top1)
    asked = section.calibrations
    headings = ["network", "scheme", "backend", *(f"top-1 %, {number:,} asked" for number in asked)]
    cells = [[*row, *(found.get(number, DASH) for number in asked)] for row, found in rows.items()]
    return markdown_table(headings, cells, [False] * 3 + [True] * len(asked))


def panels_of(section: Section) -> dict[tuple[str, str], list[Point]]:
    """Return the points that calibrated by backend and scheme; none where all read the same number of batches."""
    points = [p for p in section.measured if p.calibration_batches and p.top1 and batches_read(p)]
    grouped: defaultdict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in points:
        grouped[point.backend, point.scheme].append(point)
    return dict(grouped) if len({batches_read(point) for point in points}) > 1 else {}


def accuracy_against_batches(section: Section) -> Figure | None:
    """Draw accuracy against calibration batches; None where fewer than two numbers of them have an accuracy.

    One panel a scheme and backend; colour tells the threshold, from dense to the most pruned.
    """
    grouped = panels_of(section)
    if not grouped:
        return None
    points = [point for here in grouped.values() for point in here]
    read = [found for point in points if (found := batches_read(point))]
    figure, axes = panels(len(grouped))
    references = [p for p in section.shown if p.scheme == "fp32" and p.top1]
    bars = [error_bar(point) for point in (*points, *references)]
    fit_percent(axes, [low for low, _ in bars], [high for _, high in bars])
    fit_log(axes, read)
    palette = Palette(section.schemes, section.pruners)
    titles(figure, axes, section.title, [f"{scheme} on {backend}" for backend, scheme in grouped])
    for axis, ((backend, _), here) in zip(axes, grouped.items(), strict=True):
        plain_ticks(axis.xaxis, apart(sorted(set(read)), 14 if len(axes) == 1 else 7))
        _references(axis, section, [p for p in references if p.backend == backend])
        _lines(axis, section, here, palette)
    label_axes(axes, "calibration batches read (logarithmic)", "top-1 accuracy, %")
    legend(figure, *_groups(section, palette))
    return figure


def threshold_colour(section: Section, threshold: float) -> tuple[float, float, float, float]:
    """Return the colour of a threshold, from dark for dense to light for the most pruned."""
    place = section.thresholds.index(threshold) / max(1, len(section.thresholds) - 1)
    return _RAMP(_RAMP_END * place)


def _references(axis: Axes, section: Section, points: Sequence[Point]) -> None:
    for point in points:
        if point.top1:
            colour = threshold_colour(section, point.threshold)
            axis.axhline(100 * point.top1.mean, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.7, zorder=1)


def _lines(axis: Axes, section: Section, points: Sequence[Point], palette: Palette) -> None:
    lines: defaultdict[tuple[str | None, float], list[Point]] = defaultdict(list)
    for point in points:
        lines[point.pruner, point.threshold].append(point)
    low, high = axis.get_xlim()
    step = (high / low) ** SIDEWAYS
    middle = (len(section.thresholds) - 1) / 2
    for (pruner, threshold), line in lines.items():
        shift = step ** (section.thresholds.index(threshold) - middle)
        ordered = sorted(line, key=lambda point: batches_read(point) or 0.0)
        y, (below, above) = error_bars(ordered)
        axis.errorbar(
            [(batches_read(point) or 0.0) * shift for point in ordered],
            y,
            yerr=[below, above],
            color=threshold_colour(section, threshold),
            marker=palette.marker(line[0].scheme),
            fillstyle=palette.fill(pruner),
            linestyle=palette.line(pruner),
            markersize=5,
            linewidth=1.3,
            elinewidth=1,
            capsize=2,
        )


def apart(values: Sequence[float], most: int) -> list[float]:
    """Return those of ascending values that stand at least 1 / ``most`` of a logarithmic axis apart."""
    step = (values[-1] / values[0]) ** (1 / most)
    kept = [values[-1]]
    for value in reversed(values):
        if kept[-1] / value > step:
            kept.append(value)
    return kept[::-1]


def _groups(section: Section, palette: Palette) -> list[Sequence[Artist]]:
    """Return legend entries: thresholds and the reference, and the pruners where there are several."""
    shown = evenly(section.thresholds, MOST_NAMED)
    found: list[Artist] = [
        Line2D(
            [], [], color=threshold_colour(section, threshold), label="dense" if threshold == 0 else f"{threshold:g}"
        )
        for threshold in shown
    ]
    found.append(Line2D([], [], color=MUTED, linestyle=(0, (4, 3)), linewidth=0.9, label="fp32"))
    return [found, palette.pruner_handles()] if len(section.pruners) > 1 else [found]
