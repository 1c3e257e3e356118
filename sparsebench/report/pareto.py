"""Trade-offs: accuracy against size, latency and compute, with the points that no other dominates."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.report.canvas import INK, MUTED, Palette, fit_log, fit_percent, label_axes, legend, panels
from sparsebench.report.points import Point, Section
from sparsebench.report.text import counted, shorten

APART = 0.014
"""Distance between schemes that would cover each other, as a share of the width of the x axis."""


class Spot(NamedTuple):
    """A point in a figure: x, top-1 in percent, lower and upper end of its error bar."""

    x: float
    y: float
    low: float
    high: float
    point: Point


def against_size(section: Section) -> Figure | None:
    """Draw accuracy against deflated file size; None where there is nothing to draw."""
    return _trade_off(section, lambda p: p.deflated_file_bytes and p.deflated_file_bytes / 1000, "deflated file, kB")


def against_latency(section: Section) -> Figure | None:
    """Draw accuracy against median latency; None where there is nothing to draw."""
    if section.setting is None:
        return None
    batch, threads = section.setting
    return _trade_off(
        section, section.latency_ms, f"latency in pairs, ms (batch {batch}, {counted(threads, 'thread')})"
    )


def against_macs(section: Section) -> Figure | None:
    """Draw accuracy against effective MACs; None where there is nothing to draw."""
    most = max((point.effective_macs for point in section.shown if point.effective_macs), default=0.0)
    unit, name = next((unit, name) for unit, name in _UNITS if most >= unit or unit == 1)
    label = f"MACs with a non-zero weight, {name}one sample"
    return _trade_off(section, lambda p: p.effective_macs and p.effective_macs / unit, label, apart=True)


_UNITS = ((1e9, "billions, "), (1e6, "millions, "), (1e3, "thousands, "), (1, ""))


def front(spots: Sequence[Spot]) -> list[Spot]:
    """Return the spots that no other beats in both x (less is better) and y (more is better), by ascending x."""
    found: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s.x, -s.y)):
        if not found or spot.y > found[-1].y:
            found.append(spot)
    return found


def error_bar(point: Point) -> tuple[float, float]:
    """Return the ends of a point's error bar in percent: ± sample std over seeds, or Wilson's limits of a single seed.

    A point that has one seed in a run of several has no bar: it would mean another thing than its neighbours'.
    """
    top1 = point.top1
    if top1 is None:
        return 0.0, 0.0
    if top1.std is not None:
        return 100 * (top1.mean - top1.std), 100 * (top1.mean + top1.std)
    scored = next((s.trial.evaluated for s in point.seeds if s.trial.evaluated), None)
    if point.planned > 1 or scored is None:
        return 100 * top1.mean, 100 * top1.mean
    return 100 * scored.top1_low, 100 * scored.top1_high


def _trade_off(
    section: Section, x_of: Callable[[Point], float | None], x_label: str, apart: bool = False
) -> Figure | None:
    """Draw one panel a backend; where ``apart``, schemes stand a little apart sideways, around their true place."""
    spots = {
        backend: [
            Spot(x, 100 * point.top1.mean, *error_bar(point), point)
            for point in section.on(backend)
            if point.top1 and (x := x_of(point)) is not None and x > 0
        ]
        for backend in section.backends
    }
    spots = {backend: found for backend, found in spots.items() if found}
    if not spots:
        return None
    every = [spot for found in spots.values() for spot in found]
    xs = [spot.x for spot in every]
    # Alone, a network still gets an axis over which its schemes can be told apart.
    step = max(max(xs) / min(xs), 1.3) ** APART if apart else 1.0
    middle = (len(section.schemes) - 1) / 2

    def placed(spot: Spot) -> Spot:
        return spot._replace(x=spot.x * step ** (section.schemes.index(spot.point.scheme) - middle))

    figure, axes = panels(len(spots))
    palette = Palette(section.schemes, section.pruners)
    fit_log(axes, xs)
    fit_percent(axes, [spot.low for spot in every], [spot.high for spot in every])
    for axis, (backend, found) in zip(axes, spots.items(), strict=True):
        axis.set_title(shorten(backend, 40))
        if len(spots) > 1:
            best = list(map(placed, front(every)))
            axis.step([s.x for s in best], [s.y for s in best], ":", where="post", color=MUTED, linewidth=1, zorder=1)
        _panel(axis, list(map(placed, found)), list(map(placed, front(found))), palette, narrow=len(spots) > 1)
    label_axes(axes, x_label, "top-1 accuracy, %")
    legend(figure, palette.handles())
    return figure


def _panel(axis: Axes, spots: list[Spot], best: list[Spot], palette: Palette, narrow: bool) -> None:
    chosen = {id(spot.point) for spot in best}
    axis.step([s.x for s in best], [s.y for s in best], where="post", color=MUTED, linewidth=1, zorder=2)
    groups: dict[tuple[str, str | None, bool], list[Spot]] = {}
    for spot in spots:
        groups.setdefault((spot.point.scheme, spot.point.pruner, id(spot.point) in chosen), []).append(spot)
    for (scheme, pruner, leading), group in groups.items():
        axis.errorbar(
            [s.x for s in group],
            [s.y for s in group],
            yerr=[[s.y - s.low for s in group], [s.high - s.y for s in group]],
            linestyle="",
            color=palette.colour(scheme),
            marker=palette.marker(scheme),
            fillstyle=palette.fill(pruner),
            markersize=6 if leading else 5,
            elinewidth=1,
            alpha=1.0 if leading else 0.3,
            zorder=4 if leading else 3,
        )
    _labels(axis, best, narrow)


def _labels(axis: Axes, best: list[Spot], narrow: bool) -> None:
    """Name the points of the front, as many as fit, above them, where nothing can be: it would dominate them."""
    to_axes = axis.transData + axis.transAxes.inverted()
    width, height = (0.13, 0.065) if narrow else (0.06, 0.045)
    kept: list[tuple[float, float]] = []
    for spot in reversed(best):
        x, y = to_axes.transform((spot.x, spot.y))
        if any(abs(x - other_x) < width and abs(y - other_y) < height for other_x, other_y in kept):
            continue
        kept.append((x, y))
        inward = x < width  # to its left the label would leave the panel
        axis.annotate(
            "dense" if spot.point.dense else f"{spot.point.threshold:g}",
            (spot.x, spot.y),
            xytext=(4 if inward else -4, 3),
            textcoords="offset points",
            ha="left" if inward else "right",
            va="bottom",
            fontsize=8,
            color=INK,
            zorder=5,
        )
