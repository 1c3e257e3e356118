"""The figures of a report as charts of plotly, from the same descriptions as the pictures, with values to point at."""

import html
import math
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go
from plotly.colors import hex_to_rgb
from plotly.subplots import make_subplots

from sparsebench.points.latency import Setting, speedup_text, verdict_text
from sparsebench.points.points import Point
from sparsebench.report.figures.chart import FAINT, Bar, BarChart, Chart, HeatMap, PanelChart, Series, places, reach
from sparsebench.report.figures.palette import GRID, INK, MUTED
from sparsebench.report.html.phone import LEGEND_ROW, LETTERS_ON_PHONE, legend_rows
from sparsebench.wording.numbers import decimal, kilobytes, ratio, significant
from sparsebench.wording.scales import loss_limits, loss_number, spread_number, value_unit, with_unit
from sparsebench.wording.text import counted, shorten

_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "*": "star",
}
_OPEN = {"full": "", "none": "-open", "left": "-dot", "right": "-open-dot", "top": "-dot", "bottom": "-open-dot"}
_SCALES = {"cividis": "Cividis", "PuOr_r": "PuOr_r"}


def plotly_chart(chart: Chart) -> dict[str, Any]:
    """Return a figure as a chart of plotly, as plain values."""
    if isinstance(chart, PanelChart):
        figure = _panels(chart)
    else:
        figure = _bars(chart) if isinstance(chart, BarChart) else _heat_map(chart)
    figure.update_layout(
        template="none",
        title={"text": safe(chart.title), "x": 0.01, "font": {"size": 15}},
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        margin={"l": 70, "r": 20, "t": 70, "b": 60},
        paper_bgcolor="white",
        plot_bgcolor="white",
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"color": INK}, "namelength": -1},
        # Below the chart, where it takes no width from it on a phone.
        legend={"groupclick": "togglegroup", "orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
    )
    # Room of its own, for what stands at the bottom of the container would cover the axis.
    room = LEGEND_ROW * legend_rows([trace.name for trace in figure.data if trace.name])
    figure.update_layout(margin_b=figure.layout.margin.b + room, height=figure.layout.height + room)
    named: set[str] = set()
    for trace in figure.data:  # each name has one entry in the legend, however many panels have it
        trace.showlegend = bool(trace.name) and trace.name not in named
        trace.legendgroup = trace.name
        named.add(trace.name)
    plain: dict[str, Any] = figure.to_plotly_json()
    return plain


def safe(text: str, limit: int = 120) -> str:
    """Return text of a user as a chart shows it letter by letter; charts read a few HTML tags and entities."""
    return html.escape(shorten(text, limit), quote=False)


def hover(setting: Setting | None, point: Point) -> str:
    """Return the figures of a point, one a line, with its latency at a batch size and number of threads."""
    lines = [f"<b>{safe(point.pruning)} · {safe(point.scheme)} · {safe(point.backend)}</b>"]
    if point.value:
        scale = point.scale
        number = " ".join(filter(None, (spread_number(scale, point.value), value_unit(scale))))
        lines.append(f"{scale.short} {number} (n = {point.value.n})")
    if point.is_baseline:
        lines.append("baseline")
    elif point.drop:
        drop = point.drop
        lost = with_unit(drop.scale, loss_number(drop.scale, drop.loss, (drop.low, drop.high)))
        lines.append(f"drop {lost} {loss_limits(drop.scale, drop.low, drop.high)}")
    if point.sparsity:
        lines.append(f"sparsity {decimal(100 * point.sparsity.mean)} %")
    if point.deflated_file_bytes is not None:
        smaller = f", {ratio(point.deflated_ratio)} smaller" if point.deflated_ratio else ""
        lines.append(f"{kilobytes(point.deflated_file_bytes)} kB deflated{smaller}")
    if point.effective_macs is not None:
        lines.append(f"{point.effective_macs:,.0f} MACs with a non-zero weight")
    timing = point.timing(setting)
    if timing:
        where = f"batch {timing.batch_size}, {counted(timing.threads, 'thread')}"
        lines.append(
            f"latency {significant(timing.latency_ms.mean)} ms, p95 {significant(timing.p95_ms.mean)} ({where})"
        )
        speed = timing.reference
        lines.append(f"speedup {speedup_text(speed)} {verdict_text(speed)}")
    return "<br>".join(lines)


def _panels(chart: PanelChart) -> go.Figure:
    """Return panels that share their axes."""
    count, columns = len(chart.panels), chart.columns
    rows = math.ceil(count / columns)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[safe(panel.title, 60) for panel in chart.panels],
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.04,
        vertical_spacing=0.16 / rows,
    )
    figure.update_layout(height=190 + 270 * rows)
    figure.update_annotations(font_size=13)
    look: dict[str, Any] = {"gridcolor": GRID, "linecolor": MUTED, "zeroline": False}
    ends = list(map(math.log10, chart.x.ends)) if chart.x.log else list(chart.x.ends)
    ticks = {"tickvals": list(chart.x.ticks), "ticktext": list(chart.x.ticks.values()), "tickangle": 0}
    figure.update_xaxes(type="log" if chart.x.log else "linear", range=ends, **ticks, **look)
    figure.update_yaxes(range=list(chart.y.ends), **look)
    figure.update_yaxes(title_text=chart.y.title, col=1)
    # The one in the middle of the last row.
    titled = (rows - 1) * columns + (count - (rows - 1) * columns - 1) // 2
    for number, panel in enumerate(chart.panels):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        if number + columns >= count:  # nothing below it: the last row may not be full
            figure.update_xaxes(showticklabels=True, **place)
        if number == titled:  # once: side by side on a phone, titles would run into each other
            figure.update_xaxes(title_text="<br>".join(wrap(chart.x.title, LETTERS_ON_PHONE)), **place)
        for level in panel.levels:
            line = {"color": level.colour, "width": 1, "dash": "dash"}
            figure.add_hline(y=level.y, line=line, layer="below", exclude_empty_subplots=False, **place)
        if panel.front:
            x, y = places(panel.front)
            line = {"shape": "hv", "color": MUTED, "width": 1}
            figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip"), **place)
        for series in panel.series:
            figure.add_trace(_series(chart, series, named=bool(panel.front) and not series.faint), **place)
        if panel.ringed:
            x, y = places([spot for spot, _ in panel.ringed])
            leftmost = min(x)
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=y,
                    mode="markers+text",
                    marker={"symbol": "circle-open", "size": 18, "color": MUTED, "line": {"width": 1.5}},
                    text=[f"<b>{reason}</b>" for _, reason in panel.ringed],
                    # Apart from each other, where two that are named stand close together.
                    textposition=["bottom left" if at == leftmost < max(x) else "bottom right" for at in x],
                    hoverinfo="skip",
                    cliponaxis=False,
                ),
                **place,
            )
    return figure


def _series(chart: PanelChart, series: Series, named: bool) -> go.Scatter:
    """Return spots with their error bars; the names of those at the left edge stand to their right."""
    look, spots, (x, y) = series.look, series.spots, places(series.spots)
    colour = _faded(look.colour, FAINT) if series.faint else look.colour
    shown: dict[str, Any] = {}
    if series.bars:
        shown["error_y"] = _reach([s.low for s in spots], y, [s.high for s in spots], colour)
        left, right = zip(*(spot.sideways for spot in spots), strict=True)
        if left != right:
            shown["error_x"] = _reach(left, x, right, colour)
    if look.dash:
        shown["line"] = {"color": colour, "dash": look.dash, "width": 1.6}
    if named:
        low, high = chart.x.ends
        inward = low * (high / low) ** 0.1
        shown["text"] = [spot.name for spot in spots]
        shown["textposition"] = ["top right" if spot.x < inward else "top left" for spot in spots]
        shown["textfont"] = {"size": 10, "color": INK}
    return go.Scatter(
        x=x,
        y=y,
        **shown,
        mode="+".join(["lines"] * bool(look.dash) + ["markers"] + ["text"] * named),
        marker={
            "color": colour,
            "symbol": f"{_SYMBOLS[look.marker]}{_OPEN[look.fill]}",
            "size": 10 if named else 8,
            "line": {"color": colour, "width": 1},
        },
        hovertext=[hover(chart.setting, spot.point) for spot in spots],
        hoverinfo="text",
        name=safe(series.name, 60),
    )


def _reach(low: Sequence[float], middle: Sequence[float], high: Sequence[float], colour: str) -> dict[str, Any]:
    """Return error bars, from the lower end, the middle and the upper end of each."""
    below, above = reach(low, middle, high)
    ends = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return {**ends, "color": colour, "thickness": 1, "width": 0}


def _faded(colour: str, share: float) -> str:
    """Return a colour with a share of its ink."""
    red, green, blue = hex_to_rgb(colour)
    return f"rgba({red}, {green}, {blue}, {share:g})"


def _bars(chart: BarChart) -> go.Figure:
    """Return bars of the dense networks with the pruned ones on them."""
    figure = go.Figure([trace for bar in chart.bars for trace in _bar(chart, bar)])
    if chart.reference is not None:
        figure.add_vline(x=chart.reference, line={"color": MUTED, "width": 1, "dash": "dash"}, layer="below")
    names = {bar.y: safe(bar.scheme, 40) for bar in chart.bars}
    names |= {y: f"<b>{safe(name, 40)}</b>" for y, name in chart.headings.items()}
    figure.update_layout(height=170 + 32 * chart.slots, barmode="overlay")
    figure.update_xaxes(title_text=chart.x_title, rangemode="tozero", gridcolor=GRID)
    ticks = {"tickvals": sorted(names), "ticktext": [names[y] for y in sorted(names)]}
    figure.update_yaxes(**ticks, range=[chart.slots - 0.4, -0.6], automargin=True, zeroline=False, showgrid=False)
    return figure


def _bar(chart: BarChart, bar: Bar) -> list[go.Bar | go.Scatter]:
    traces: list[go.Bar | go.Scatter] = []
    if bar.dense:
        if chart.pale:
            said, pale = chart.beyond.format(significant(bar.beyond)), {"color": _faded(bar.colour, 0.3)}
            beyond = {"x": [bar.beyond], "y": [bar.y], "hovertext": [said], "hoverinfo": "text"}
            traces.append(go.Bar(**beyond, orientation="h", width=0.72, marker=pale))
        traces.append(
            go.Bar(
                x=[bar.value],
                y=[bar.y],
                orientation="h",
                width=0.5,
                marker={"color": bar.colour},
                error_x=_reach([bar.low], [bar.value], [bar.high], INK),
                hovertext=[hover(chart.setting, bar.dense)],
                hoverinfo="text",
                name=safe(bar.scheme, 60),
            )
        )
    if bar.marks:
        traces.append(
            go.Scatter(
                x=[mark.value for mark in bar.marks],
                y=[bar.y] * len(bar.marks),
                mode="markers",
                marker={"symbol": "diamond", "size": 8, "color": "white", "line": {"color": INK, "width": 1}},
                hovertext=[hover(chart.setting, mark.point) for mark in bar.marks],
                hoverinfo="text",
                name="pruned",
            )
        )
    return traces


def _heat_map(shown: HeatMap) -> go.Figure:
    titles = [safe(grid.title, 60) for grid in shown.grids]
    figure = make_subplots(1, len(shown.grids), subplot_titles=titles, shared_yaxes="all", horizontal_spacing=0.02)
    rows = list(range(len(shown.rows)))
    for number, grid in enumerate(shown.grids, 1):
        columns = list(range(len(grid.columns)))
        figure.add_trace(
            go.Heatmap(
                z=[[None if math.isnan(value) else float(value) for value in row] for row in grid.cells],
                x=columns,
                y=rows,
                text=[list(row) for row in grid.texts],
                texttemplate="%{text}" if grid.written else None,
                hovertext=[
                    [
                        f"{safe(name)}<br>threshold {column}<br>{text or '–'} {shown.unit}"
                        for column, text in zip(grid.columns, row, strict=True)
                    ]
                    for name, row in zip(shown.rows, grid.texts, strict=True)
                ],
                hoverinfo="text",
                coloraxis="coloraxis",
                xgap=1,
                ygap=1,
            ),
            row=1,
            col=number,
        )
        figure.update_xaxes(tickvals=columns, ticktext=list(grid.columns), row=1, col=number)
        for row, column in sorted(grid.outlined):
            box = {"x0": column - 0.44, "x1": column + 0.44, "y0": row - 0.44, "y1": row + 0.44}
            figure.add_shape(type="rect", **box, line={"color": shown.outline, "width": 2}, row=1, col=number)
    bar: dict[str, Any] = {"title": {"text": shown.scale_title}}
    if shown.ticks:
        bar |= {"tickvals": list(shown.ticks), "ticktext": list(shown.ticks.values())}
    colours = {"colorscale": _SCALES[shown.colours], "cmin": shown.low, "cmax": shown.high, "colorbar": bar}
    height = 180 + max(16, min(32, 900 // len(rows))) * len(rows)
    figure.update_layout(height=height, coloraxis=colours)
    figure.update_xaxes(showgrid=False, zeroline=False)
    figure.update_xaxes(title_text=shown.x_title, row=1, col=(len(shown.grids) + 1) // 2)
    figure.update_yaxes(showgrid=False, zeroline=False, range=[len(rows) - 0.5, -0.5])
    figure.update_yaxes(tickvals=rows, ticktext=[safe(name, 40) for name in shown.rows], automargin=True, col=1)
    return figure
