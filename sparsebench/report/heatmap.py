"""Sparsity of every layer at every threshold, of the trained networks."""

from collections import defaultdict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sparsebench.records import COLLAPSED_SPARSITY
from sparsebench.report.points import Section
from sparsebench.report.text import evenly, shorten

MOST_COLUMNS = 24
"""Thresholds shown; of more, evenly spaced ones are."""

MOST_NUMBERS = 320
"""Cells up to which every cell carries its number."""

Layers = dict[str, list[float]]


def layer_sparsity(section: Section) -> Figure | None:
    """Draw a heat map per pruner: layers × thresholds; None where nothing was pruned or no layer was recorded."""
    pruners = section.pruners
    networks, prunable = _networks(section)
    names = list(prunable)
    if not pruners or not names:
        return None
    thresholds = evenly(sorted({threshold for _, threshold in networks}), MOST_COLUMNS)
    height = 1.6 + max(0.16, min(0.3, 9 / len(names))) * len(names)
    width = 2.6 + len(pruners) * max(2.6, 0.5 * len(thresholds))
    figure = Figure(figsize=(min(width, 16), height), layout="constrained")
    grid = figure.subplots(1, len(pruners), sharey=True, squeeze=False)
    mesh = None
    for axis, pruner in zip(grid.flat, pruners, strict=True):
        cells = np.full((len(names), len(thresholds)), np.nan)
        for column, threshold in enumerate(thresholds):
            # The dense network belongs to every pruner.
            layers = networks.get((pruner if threshold else None, threshold), {})
            for row, name in enumerate(names):
                if layers.get(name):
                    cells[row, column] = sum(layers[name]) / len(layers[name])
        mesh = axis.pcolormesh(cells, cmap="cividis", vmin=0.0, vmax=1.0, edgecolors="white", linewidth=0.4)
        _numbers(axis, cells)
        axis.set_title(shorten(pruner, 30))
        axis.set_xticks(np.arange(len(thresholds)) + 0.5, [f"{threshold:.4g}" for threshold in thresholds])
        axis.tick_params(axis="x", rotation=90 if len(thresholds) > 12 else 0)
        axis.grid(visible=False)
        axis.tick_params(length=0)
        axis.set_xlabel("threshold")
    step = max(1, len(names) // 80)
    shown = [shorten(name, 32) if prunable[name] else f"({shorten(name, 32)})" for name in names[::step]]
    small = {"fontsize": 8 if len(names) <= 30 else 6.5}
    grid[0, 0].set_yticks(np.arange(0, len(names), step) + 0.5, shown, **small)
    grid[0, 0].invert_yaxis()
    if mesh is not None:
        bar = figure.colorbar(mesh, ax=list(grid.flat), shrink=0.8, pad=0.02, label="zeros, %")
        bar.set_ticks([0, 0.25, 0.5, 0.75, 1.0], labels=["0", "25", "50", "75", "100"])
    return figure


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


def _numbers(axis: Axes, cells: np.ndarray) -> None:
    """Write the percentage into each cell, where they fit, and outline layers that have collapsed."""
    for (row, column), value in np.ndenumerate(cells):
        if np.isnan(value):
            continue
        if cells.size <= MOST_NUMBERS:
            text = f"{100 * value:.0f}" if value < 0.99 or value == 1.0 else f"{100 * value:.1f}"
            colour = "white" if value < 0.55 else "black"
            axis.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7.5, color=colour)
        if value >= COLLAPSED_SPARSITY:
            outline = Rectangle((column + 0.06, row + 0.06), 0.88, 0.88, fill=False, edgecolor="#D55E00", linewidth=1.8)
            axis.add_patch(outline)
