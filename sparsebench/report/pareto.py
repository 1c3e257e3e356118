"""Pareto fronts: one panel a backend, the front joined and dark, what it dominates faint, the picks ringed."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.points.points import Point, Section
from sparsebench.report import tradeoffs
from sparsebench.report.canvas import fit_log, fit_percent, label_axes, legend, panels, titles
from sparsebench.report.labels import Label, write_labels
from sparsebench.report.palette import MUTED, Palette
from sparsebench.report.tradeoffs import Spot, TradeOff, front

FAINT = 0.3
"""How much ink a dominated point gets."""

MOST_WITH_BARS = 250
"""Dominated points of a panel up to which each has its error bars; more would be a smear."""


def against_size(section: Section) -> Figure | None:
    """Draw accuracy against deflated file size; None where there is nothing to draw."""
    return _draw(section, tradeoffs.against_size(section))


def against_latency(section: Section) -> Figure | None:
    """Draw accuracy against latency; None where there is nothing to draw."""
    return _draw(section, tradeoffs.against_latency(section))


def against_macs(section: Section) -> Figure | None:
    """Draw accuracy against effective MACs; None where there is nothing to draw."""
    return _draw(section, tradeoffs.against_macs(section))


def _draw(section: Section, shown: TradeOff | None) -> Figure | None:
    if shown is None:
        return None
    every = shown.spots
    figure, axes = panels(len(shown.panels))
    palette = Palette(section.schemes, section.pruners)
    titles(figure, axes, section.title, tuple(shown.panels))
    fit_log(axes, shown.values)
    fit_percent(axes, [spot.low for spot in every], [spot.high for spot in every])
    overall = shown.placed(front(every))
    for axis, found in zip(axes, shown.panels.values(), strict=True):
        if len(shown.panels) > 1:
            axis.step(*_line(overall), ":", where="post", color=MUTED, linewidth=1, zorder=1)
        _panel(axis, shown.placed(found), shown.placed(front(found)), palette, shown)
    label_axes(axes, shown.x_label, "top-1 accuracy, %")
    legend(figure, *palette.groups())
    return figure


def _line(spots: Sequence[Spot]) -> tuple[list[float], list[float]]:
    return [spot.x for spot in spots], [spot.y for spot in spots]


def _panel(axis: Axes, spots: list[Spot], best: list[Spot], palette: Palette, shown: TradeOff) -> None:
    chosen = {id(spot.point) for spot in best} | shown.picks.keys()
    axis.step(*_line(best), where="post", color=MUTED, linewidth=1, zorder=2)
    with_bars = len(spots) - len(best) <= MOST_WITH_BARS
    groups: dict[tuple[str, str | None, bool], list[Spot]] = {}
    for spot in spots:
        groups.setdefault((spot.point.scheme, spot.point.pruner, id(spot.point) in chosen), []).append(spot)
    for (scheme, pruner, leading), group in groups.items():
        axis.errorbar(
            *_line(group),
            **(_bars(group, sideways=not shown.apart) if leading or with_bars else {}),
            linestyle="",
            color=palette.colour(scheme),
            marker=palette.marker(scheme),
            fillstyle=palette.fill(pruner),
            markersize=6 if leading else 5 if with_bars else 3,
            elinewidth=1,
            alpha=1.0 if leading else FAINT,
            zorder=4 if leading else 3,
            # In an SVG thousands of marks are heavier than a picture of them.
            rasterized=not (leading or with_bars),
        )
    ringed = [spot for spot in spots if id(spot.point) in shown.picks]
    axis.plot(*_line(ringed), linestyle="", marker="o", markersize=13, fillstyle="none", color=MUTED, zorder=5)
    named = [
        Label(spot.x, spot.y, f"{name_of(spot.point)}: {shown.picks[id(spot.point)]}", bold=True) for spot in ringed
    ]
    picks = {id(spot.point) for spot in ringed}
    others = [Label(spot.x, spot.y, name_of(spot.point)) for spot in reversed(best) if id(spot.point) not in picks]
    write_labels(axis, [*named, *others])


def _bars(group: Sequence[Spot], sideways: bool) -> dict[str, Any]:
    bars: dict[str, Any] = {"yerr": [[s.y - s.low for s in group], [s.high - s.y for s in group]]}
    if sideways:
        ends = [(s.x_low or s.x, s.x_high or s.x) for s in group]
        if any(low < high for low, high in ends):
            bars["xerr"] = [
                [max(0.0, s.x - low) for s, (low, _) in zip(group, ends, strict=True)],
                [max(0.0, high - s.x) for s, (_, high) in zip(group, ends, strict=True)],
            ]
    return bars


def name_of(point: Point) -> str:
    """Return how a point of a front is labelled."""
    return "dense" if point.dense else f"{point.threshold:g}"
