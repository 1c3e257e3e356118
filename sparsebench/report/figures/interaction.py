"""What pruning and quantization cost together beyond what they cost apart, as a heat map: thresholds × schemes."""

import math

import numpy as np
from scipy.special import stdtrit

from sparsebench.points.points import Point, Section
from sparsebench.report.figures.chart import Grid, HeatMap
from sparsebench.report.figures.palette import INK
from sparsebench.statistics.spread import Spread
from sparsebench.wording.numbers import decimal
from sparsebench.wording.text import evenly

MOST_COLUMNS = 12
"""Thresholds shown; of more, evenly spaced ones are."""

LEAST_SCALE_PP = 1.0
"""The colours reach at least so far, so that noise is not painted as if it were a loss."""


def interaction(section: Section) -> HeatMap | None:
    """Return the interactions of a section, means over seeds with their sample standard deviations.

    Those whose 95 % interval over seeds (Student's t) excludes zero are outlined; however well seeds agree, the
    interval is as wide as the rounding of accuracies to whole test samples alone makes it.
    """
    known = [point for point in section.shown if point.interaction]
    if not known:
        return None
    several = len(section.backends) > 1
    rows = {(p.backend, p.scheme): f"{p.scheme} · {p.backend}" if several else p.scheme for p in known}
    high = max(LEAST_SCALE_PP, *(abs(point.interaction.mean) for point in known if point.interaction))
    return HeatMap(
        title=f"{section.title}: interaction{'' if several else f' on {known[0].backend}'}",
        grids=tuple(
            _grid(pruner, [p for p in known if p.pruner == pruner], list(rows))
            for pruner in section.pruners
            if any(p.pruner == pruner for p in known)
        ),
        rows=tuple(rows.values()),
        x_title="threshold",
        colours="PuOr_r",
        low=-high,
        high=high,
        scale_title="interaction, pp",
        unit="pp",
        outline=INK,  # orange is lost on orange
    )


def _grid(pruner: str, points: list[Point], rows: list[tuple[str, str]]) -> Grid:
    thresholds = evenly(sorted({point.threshold for point in points}), MOST_COLUMNS)
    cells = np.full((len(rows), len(thresholds)), np.nan)
    texts = [[""] * len(thresholds) for _ in rows]
    outlined = set()
    for point in points:
        found = point.interaction
        if found is None or point.threshold not in thresholds:
            continue
        row, column = rows.index((point.backend, point.scheme)), thresholds.index(point.threshold)
        cells[row, column] = found.mean
        spread = f" ± {decimal(found.std)}" if found.std is not None else ""
        texts[row][column] = f"{decimal(found.mean)}{spread}"
        if _excludes_zero(point, found):
            outlined.add((row, column))
    columns = tuple(f"{threshold:g}" for threshold in thresholds)
    return Grid(pruner, columns, cells, tuple(map(tuple, texts)), frozenset(outlined))


def _excludes_zero(point: Point, found: Spread) -> bool:
    if found.std is None:
        return False
    deviation = max(found.std, _rounding_pp(point))
    return abs(found.mean) > float(stdtrit(found.n - 1, 0.975)) * deviation / math.sqrt(found.n)


def _rounding_pp(point: Point) -> float:
    """Return the standard deviation that an interaction has by rounding alone, in percentage points.

    An accuracy comes in steps of one test sample, which has a standard deviation of step / √12 (Sheppard 1897), and
    four of them make an interaction. Seeds that agree to the last sample are no more certain than that.
    """
    read = [seed.trial.evaluated.samples for seed in point.seeds if seed.trial.evaluated]
    return math.sqrt(4 / 12) * 100.0 / min(read) if read else 0.0
