"""Sparsity of every layer at every threshold, of the trained networks."""

from collections import defaultdict

import numpy as np

from sparsebench.points.points import Section
from sparsebench.report.figures.chart import Grid, HeatMap
from sparsebench.store.results import COLLAPSED_SPARSITY
from sparsebench.wording.text import evenly

MOST_COLUMNS = 24
"""Thresholds shown; of more, evenly spaced ones are."""

Layers = dict[str, list[float]]


def layer_sparsity(section: Section) -> HeatMap | None:
    """Return the sparsities of layers, means over seeds; those of layers that have collapsed are outlined."""
    networks, prunable = _networks(section)
    if not section.pruners or not prunable:
        return None
    return HeatMap(
        title=f"{section.title}: zeros by layer",
        grids=tuple(_grid(pruner, networks, list(prunable)) for pruner in section.pruners),
        rows=tuple(name if may_prune else f"({name})" for name, may_prune in prunable.items()),
        x_title="threshold",
        colours="cividis",
        low=0.0,
        high=1.0,
        scale_title="zeros, %",
        unit="% zero",
        ticks={0.0: "0", 0.25: "25", 0.5: "50", 0.75: "75", 1.0: "100"},
    )


def _grid(pruner: str, networks: dict[tuple[str | None, float], Layers], names: list[str]) -> Grid:
    # The dense network belongs to every pruner.
    own = {threshold: layers for (name, threshold), layers in networks.items() if name in (pruner, None)}
    thresholds = evenly(sorted(own), MOST_COLUMNS)
    cells = np.full((len(names), len(thresholds)), np.nan)
    for column, threshold in enumerate(thresholds):
        layers = own[threshold]
        for row, name in enumerate(names):
            if layers.get(name):
                cells[row, column] = sum(layers[name]) / len(layers[name])
    return Grid(
        title=pruner,
        columns=tuple(f"{threshold:g}" for threshold in thresholds),
        cells=cells,
        texts=tuple(tuple(_percent(value) for value in row) for row in cells),
        outlined=frozenset((int(row), int(column)) for row, column in np.argwhere(cells >= COLLAPSED_SPARSITY)),
    )


def _percent(value: float) -> str:
    """Return a fraction as a whole percentage; what is not quite everything is not rounded to 100."""
    if np.isnan(value):
        return ""
    return f"{100 * value:.0f}" if value < 0.99 or value == 1.0 else f"{100 * value:.1f}"


def _networks(section: Section) -> tuple[dict[tuple[str | None, float], Layers], dict[str, bool]]:
    """Return the sparsities of each network's layers over seeds, and whether each layer may be pruned."""
    networks: defaultdict[tuple[str | None, float], Layers] = defaultdict(lambda: defaultdict(list))
    prunable: dict[str, bool] = {}
    seen: set[str] = set()
    for trial in section.trials:
        t = trial.trial
        if trial.trained is None or t.train in seen:
            continue
        seen.add(t.train)
        layers = networks[t.pruner if t.threshold else None, t.threshold]
        for layer in trial.trained.layers:
            layers[layer.name].append(layer.sparsity)
            prunable.setdefault(layer.name, layer.prunable)
    return dict(networks), prunable
