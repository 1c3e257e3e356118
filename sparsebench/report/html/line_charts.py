"""Accuracy against sparsity and against calibration batches as charts."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from matplotlib.colors import to_hex

from sparsebench.points.points import Point, Section
from sparsebench.report import calibration
from sparsebench.report.curves import error_bars, place_of
from sparsebench.report.html.hover import hover, safe
from sparsebench.report.html.parts import Style, log_axis, panels, percent_axis, place_in
from sparsebench.report.palette import MUTED
from sparsebench.report.tradeoffs import error_bar


def accuracy_chart(section: Section) -> go.Figure | None:
    """Return accuracy against sparsity; None where fewer than two thresholds have an accuracy."""
    points = [point for point in section.shown if point.top1 and point.sparsity]
    if len({point.threshold for point in points}) < 2:
        return None
    backends = [backend for backend in section.backends if any(p.backend == backend for p in points)]
    title, y = "sparsity of prunable weights, %", "top-1 accuracy, %"
    figure, style = panels(section.title, backends, title, y), Style(section)
    for number, backend in enumerate(backends):
        dense = next((p.top1 for p in points if p.is_baseline and p.backend == backend), None)
        if dense:
            _level(figure, 100 * dense.mean, MUTED, place_in(number, len(backends)))
        for scheme in section.schemes:
            for pruner in section.pruners:
                here = [p for p in points if (p.backend, p.scheme) == (backend, scheme)]
                line = sorted((p for p in here if p.dense or p.pruner == pruner), key=place_of)
                if line:
                    trace = _line(section, line, list(map(place_of, line)), style, style.name(scheme, pruner), pruner)
                    figure.add_trace(trace, **place_in(number, len(backends)))
    percent_axis(figure, [error_bar(point) for point in points])
    places = {point.threshold: place_of(point) for point in reversed(points)}
    names = [f"{100 * threshold:.4g}" for threshold in places]
    figure.update_xaxes(tickvals=list(places.values()), ticktext=names, tickangle=0)
    return figure


def _line(
    section: Section, points: Sequence[Point], x: list[float], style: Style, name: str, pruner: str | None, **line: Any
) -> go.Scatter:
    scheme = points[0].scheme
    colour = line.pop("color", style.colour(scheme))
    y, (below, above) = error_bars(points)
    return go.Scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"color": colour, "dash": style.dash(pruner), "width": 1.6},
        marker={"color": colour, "symbol": style.symbol(scheme, pruner), "size": 8},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": above,
            "arrayminus": below,
            "thickness": 1,
            "width": 2,
            "color": colour,
        },
        hovertext=[hover(section, point) for point in points],
        hoverinfo="text",
        **style.legend(name),
    )


def calibration_chart(section: Section) -> go.Figure | None:
    """Return accuracy against calibration batches; None where there are fewer than two numbers of them."""
    grouped = calibration.panels_of(section)
    if not grouped:
        return None
    names = [f"{scheme} on {backend}" for backend, scheme in grouped]
    figure = panels(section.title, names, "calibration batches read", "top-1 accuracy, %")
    style = Style(section)
    read = [point for here in grouped.values() for point in here]
    for number, ((backend, _), here) in enumerate(grouped.items()):
        for plain in (p for p in section.on(backend) if p.scheme == "fp32" and p.top1):
            colour = to_hex(calibration.threshold_colour(section, plain.threshold))
            _level(figure, 100 * (plain.top1.mean if plain.top1 else 0.0), colour, place_in(number, len(grouped)))
        lines: defaultdict[tuple[str | None, float], list[Point]] = defaultdict(list)
        for point in here:
            lines[point.pruner, point.threshold].append(point)
        for (pruner, threshold), points in lines.items():
            ordered = sorted(points, key=lambda point: calibration.batches_read(point) or 0.0)
            x = [calibration.batches_read(point) or 0.0 for point in ordered]
            colour = to_hex(calibration.threshold_colour(section, threshold))
            trace = _line(section, ordered, x, style, safe(ordered[0].pruning), pruner, color=colour)
            figure.add_trace(trace, **place_in(number, len(grouped)))
    batches = sorted({calibration.batches_read(point) or 1.0 for point in read})
    percent_axis(figure, [error_bar(point) for point in (*read, *section.shown) if point.top1])
    log_axis(figure, batches, len(grouped), calibration.apart(batches, 14 if len(grouped) == 1 else 7))
    return figure


def _level(figure: go.Figure, y: float, colour: str, place: dict[str, int]) -> None:
    """Draw a dashed line across a panel."""
    figure.add_hline(
        y=y, line={"color": colour, "width": 1, "dash": "dash"}, layer="below", exclude_empty_subplots=False, **place
    )
