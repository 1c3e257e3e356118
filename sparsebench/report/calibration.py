"""Accuracy by the number of calibration batches, where a run asks for several."""

from collections import defaultdict

from sparsebench.points.points import Point, Section
from sparsebench.statistics.spread import mean
from sparsebench.wording.numbers import DASH
from sparsebench.wording.scales import heading, spread_number
from sparsebench.wording.text import counted, escape, listing, markdown_table


def batches_read(point: Point) -> float | None:
    """Return how many calibration batches were really read, mean over seeds; a training split may have fewer."""
    return mean(packed.calibration_batches for seed in point.seeds if (packed := seed.trial.compressed))


def calibration_note(section: Section) -> str:
    """Return what the numbers of calibration batches mean for the rest of the section, as one paragraph."""
    most = section.calibrations[-1]
    text = (
        f"All other tables and figures show {counted(most, 'calibration batch', 'calibration batches')}, the largest "
        "number asked for, and latency was timed for it alone: calibration does not change the work."
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
    """Return the metric at every number of calibration batches; one row a network and scheme that calibrates."""
    rows: defaultdict[tuple[str, ...], dict[int, str]] = defaultdict(dict)
    for point in section.measured:
        if point.calibration_batches is not None:
            row = (escape(point.pruning), escape(point.scheme), escape(point.backend))
            rows[row][point.calibration_batches] = spread_number(point.scale, point.value)
    asked = section.calibrations
    headings = ["network", "scheme", "backend", *(f"{heading(section.scale)}, {number:,} asked" for number in asked)]
    cells = [[*row, *(found.get(number, DASH) for number in asked)] for row, found in rows.items()]
    return markdown_table(headings, cells, [False] * 3 + [True] * len(asked))
