"""Heat maps: what pruning and quantization cost together by scheme, and the zeros of every layer, by threshold."""

import math
from collections import defaultdict

from scipy.special import stdtrit

from sparsebench.decide.choosing import MAX_DROP_PP, default_limit
from sparsebench.points.points import Point, Section
from sparsebench.report.figures.chart import Cell, HeatMap, grid_of
from sparsebench.report.figures.palette import INK
from sparsebench.statistics.spread import Spread
from sparsebench.store.records import TrialResult
from sparsebench.store.results import COLLAPSED_SPARSITY
from sparsebench.wording.scales import loss_number

LEAST_SCALE_PP = 1.0
"""The colours of interactions reach at least so far, so that noise is not painted as if it were a loss."""


def interaction(section: Section) -> HeatMap | None:
    """Describe the interactions of a section, means over seeds with their sample standard deviations.

    Those whose 95 % interval over seeds (Student's t) excludes zero are outlined; however well seeds agree, the
    interval is as wide as the rounding of accuracies to whole test samples alone makes it.
    """
    known = [(point, point.interaction) for point in section.shown if point.interaction]
    if not known:
        return None
    several, scale = len(section.backends) > 1, section.scale
    rows = {(p.backend, p.scheme): f"{p.scheme} · {p.backend}" if several else p.scheme for p, _ in known}
    cells: defaultdict[str | None, dict[tuple[tuple[str, str], float], Cell]] = defaultdict(dict)
    for point, found in known:
        within = None if found.std is None else (found.mean - found.std, found.mean + found.std)
        text = loss_number(scale, found.mean, within)
        text = text if found.std is None else f"{text} ± {loss_number(scale, found.std, within)}"
        cell = Cell(found.mean, text, _excludes_zero(point, found))
        cells[point.pruner][(point.backend, point.scheme), point.threshold] = cell
    least = LEAST_SCALE_PP * default_limit(section) / MAX_DROP_PP
    high = max(least, *(abs(found.mean) for _, found in known)) or 1.0
    return HeatMap(
        title=f"{section.title}: interaction{'' if several else f' on {section.backends[0]}'}",
        grids=tuple(grid_of(name, list(rows), cells[name], most=12) for name in section.pruners if name in cells),
        rows=tuple(rows.values()),
        x_title="threshold",
        colours="PuOr_r",
        low=-high,
        high=high,
        scale_title=f"interaction, {scale.loss_unit or scale.short}",
        unit=scale.loss_unit,
        outline=INK,  # orange is lost on orange
    )


def layer_sparsity(section: Section) -> HeatMap | None:
    """Describe the zeros of layers of the trained networks, means over seeds; those that collapsed are outlined."""
    zeros: defaultdict[tuple[str | None, float, str], list[float]] = defaultdict(list)
    prunable: dict[str, bool] = {}
    trained: dict[str, TrialResult] = {}
    for trial in section.trials:
        trained.setdefault(trial.trial.train, trial)
    for trial in trained.values():
        t = trial.trial
        for layer in trial.trained.layers if trial.trained else ():
            zeros[t.pruner if t.threshold else None, t.threshold, layer.name].append(layer.sparsity)
            prunable.setdefault(layer.name, layer.prunable)
    if not section.pruners or not prunable:
        return None
    means = {place: sum(values) / len(values) for place, values in zeros.items()}
    cells = {place: Cell(mean, _percent(mean), mean >= COLLAPSED_SPARSITY) for place, mean in means.items()}
    return HeatMap(
        title=f"{section.title}: zeros by layer",
        grids=tuple(
            grid_of(
                name,
                list(prunable),
                # The dense network belongs to every pruner.
                {(layer, at): cell for (pruner, at, layer), cell in cells.items() if pruner in (name, None)},
                most=24,
            )
            for name in section.pruners
        ),
        rows=tuple(name if may_prune else f"({name})" for name, may_prune in prunable.items()),
        x_title="threshold",
        colours="cividis",
        low=0.0,
        high=1.0,
        scale_title="zeros, %",
        unit="% zero",
        ticks={0.0: "0", 0.25: "25", 0.5: "50", 0.75: "75", 1.0: "100"},
    )


def _percent(value: float) -> str:
    """Return a fraction as a whole percentage; what is not quite everything is not rounded to 100."""
    return f"{100 * value:.0f}" if value < 0.99 or value == 1.0 else f"{100 * value:.1f}"


def _excludes_zero(point: Point, found: Spread) -> bool:
    if found.std is None:
        return False
    deviation = max(found.std, _rounding_pp(point) if point.scale.is_accuracy else 0.0)
    return abs(found.mean) > float(stdtrit(found.n - 1, 0.975)) * deviation / math.sqrt(found.n)


def _rounding_pp(point: Point) -> float:
    """Return the standard deviation that an interaction has by rounding alone, in percentage points.

    An accuracy comes in steps of one test sample, which has a standard deviation of step / √12 (Sheppard 1897), and
    four of them make an interaction. Seeds that agree to the last sample are no more certain than that.
    """
    read = [seed.trial.evaluated.samples for seed in point.seeds if seed.trial.evaluated]
    return math.sqrt(4 / 12) * 100.0 / min(read) if read else 0.0
