"""Latency and size as charts of bars."""

from collections.abc import Callable

import plotly.graph_objects as go

from sparsebench.points.points import Section
from sparsebench.report.bars import Bar, Layout, latency_bars, size_bars
from sparsebench.report.html.hover import hover, safe
from sparsebench.report.html.parts import Style, faded, layout_of, reach
from sparsebench.report.palette import GRID, INK, MUTED
from sparsebench.wording.numbers import significant
from sparsebench.wording.text import counted


def latency_chart(section: Section) -> go.Figure | None:
    """Return latencies with the intervals of their speedups; None where nothing was timed."""
    if section.setting is None:
        return None
    batch, threads = section.setting
    layout = latency_bars(section)
    figure = _bars(section, layout, f"latency in pairs, ms (batch {batch}, {counted(threads, 'thread')})", _tick)
    if figure and layout.bars[0].dense and layout.bars[0].dense.is_baseline:
        figure.add_vline(x=layout.bars[0].value, line={"color": MUTED, "width": 1, "dash": "dash"}, layer="below")
    return figure


def size_chart(section: Section) -> go.Figure | None:
    """Return sizes of deflated files; None where nothing was compressed."""
    return _bars(section, size_bars(section), "file size, kB", _pale)


def _tick(bar: Bar, colour: str) -> go.Scatter:
    """Return the mark of the 95th percentile of a dense network's calls."""
    del colour
    return go.Scatter(
        x=[bar.beyond],
        y=[bar.y],
        mode="markers",
        marker={"symbol": "line-ns", "size": 14, "line": {"color": MUTED, "width": 2}},
        hovertext=[f"p95 {significant(bar.beyond)} ms"],
        hoverinfo="text",
        showlegend=False,
    )


def _pale(bar: Bar, colour: str) -> go.Bar:
    """Return the pale bar of a dense network's saved file."""
    return go.Bar(
        x=[bar.beyond],
        y=[bar.y],
        orientation="h",
        width=0.72,
        marker={"color": faded(colour, 0.3)},
        hovertext=[f"saved: {significant(bar.beyond)} kB"],
        hoverinfo="text",
        showlegend=False,
    )


def _bars(
    section: Section, layout: Layout, label: str, beyond: Callable[[Bar, str], go.Bar | go.Scatter]
) -> go.Figure | None:
    """Return bars of the dense networks with the pruned ones on them."""
    if not layout.bars:
        return None
    figure, style = go.Figure(), Style(section)
    for bar in layout.bars:
        colour = style.colour(bar.scheme)
        if bar.dense:
            figure.add_trace(beyond(bar, colour))
            figure.add_trace(
                go.Bar(
                    x=[bar.value],
                    y=[bar.y],
                    orientation="h",
                    width=0.5,
                    marker={"color": colour},
                    error_x=reach([(bar.low, bar.value, bar.high)], INK),
                    hovertext=[hover(section, bar.dense)],
                    hoverinfo="text",
                    **style.legend(safe(bar.scheme, 60)),
                )
            )
        if bar.marks:
            figure.add_trace(
                go.Scatter(
                    x=[mark.value for mark in bar.marks],
                    y=[bar.y] * len(bar.marks),
                    mode="markers",
                    marker={"symbol": "diamond", "size": 8, "color": "white", "line": {"color": INK, "width": 1}},
                    hovertext=[hover(section, mark.point) for mark in bar.marks],
                    hoverinfo="text",
                    **style.legend("pruned"),
                )
            )
    names = {**{bar.y: safe(bar.scheme, 40) for bar in layout.bars}}
    names |= {y: f"<b>{safe(name, 40)}</b>" for y, name in layout.headings}
    figure.update_layout(height=170 + 32 * layout.slots, barmode="overlay", **layout_of(section.title))
    figure.update_xaxes(title_text=label, rangemode="tozero", gridcolor=GRID)
    ticks = {"tickvals": sorted(names), "ticktext": [names[y] for y in sorted(names)]}
    figure.update_yaxes(**ticks, range=[layout.slots - 0.4, -0.6], automargin=True, zeroline=False, showgrid=False)
    return figure
