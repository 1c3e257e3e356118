"""Latency and size as charts of bars."""

import plotly.graph_objects as go

from sparsebench.report.bars import Layout, latency_bars, size_bars
from sparsebench.report.html.hover import hover, safe
from sparsebench.report.html.parts import Style, layout_of, reach
from sparsebench.report.palette import GRID, INK
from sparsebench.report.points import Section
from sparsebench.report.text import counted


def latency_chart(section: Section) -> go.Figure | None:
    """Return latencies with the intervals of their speedups; None where nothing was timed."""
    if section.setting is None:
        return None
    batch, threads = section.setting
    return _bars(section, latency_bars(section), f"latency in pairs, ms (batch {batch}, {counted(threads, 'thread')})")


def size_chart(section: Section) -> go.Figure | None:
    """Return sizes of deflated files; None where nothing was compressed."""
    return _bars(section, size_bars(section), "deflated file, kB")


def _bars(section: Section, layout: Layout, label: str) -> go.Figure | None:
    """Return bars of the dense networks with the pruned ones on them."""
    if not layout.bars:
        return None
    figure, style = go.Figure(), Style(section)
    for bar in layout.bars:
        colour = style.colour(bar.scheme)
        if bar.dense:
            figure.add_trace(
                go.Bar(
                    x=[bar.value],
                    y=[bar.y],
                    orientation="h",
                    width=0.7,
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
