"""Heat maps as charts."""

import math
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sparsebench.report.heatmap import MOST_NUMBERS, HeatMap
from sparsebench.report.html.hover import safe
from sparsebench.report.html.parts import layout_of


def heat_chart(shown: HeatMap | None, unit: str) -> go.Figure | None:
    """Return a heat map as a chart; ``unit`` follows the value under the pointer."""
    if shown is None:
        return None
    titles = [safe(grid.title, 60) for grid in shown.grids]
    figure = make_subplots(1, len(shown.grids), subplot_titles=titles, shared_yaxes="all", horizontal_spacing=0.02)
    rows = list(range(len(shown.rows)))
    for number, grid in enumerate(shown.grids):
        texts = [list(row) for row in grid.texts]
        figure.add_trace(
            go.Heatmap(
                z=[[None if math.isnan(value) else float(value) for value in row] for row in grid.cells],
                x=list(range(len(grid.columns))),
                y=rows,
                text=texts,
                texttemplate="%{text}" if grid.cells.size <= MOST_NUMBERS else None,
                hovertext=[
                    [f"{safe(name)}<br>threshold {column}<br>{text or '–'} {unit}" for column, text in cells]
                    for name, cells in (
                        (name, list(zip(grid.columns, row, strict=True)))
                        for name, row in zip(shown.rows, texts, strict=True)
                    )
                ],
                hoverinfo="text",
                coloraxis="coloraxis",
                xgap=1,
                ygap=1,
            ),
            row=1,
            col=number + 1,
        )
        names = {"tickvals": list(range(len(grid.columns))), "ticktext": list(grid.columns)}
        figure.update_xaxes(**names, row=1, col=number + 1)
        for outlined_row, outlined in sorted(grid.outlined):
            box = {"x0": outlined - 0.44, "x1": outlined + 0.44, "y0": outlined_row - 0.44, "y1": outlined_row + 0.44}
            figure.add_shape(type="rect", **box, line={"color": shown.outline, "width": 2}, row=1, col=number + 1)
    scale = {"cividis": "Cividis", "PuOr_r": "PuOr_r"}[shown.colours]
    bar: dict[str, Any] = {"title": {"text": shown.scale_label}}
    if shown.ticks:
        bar |= {"tickvals": list(shown.ticks), "ticktext": list(shown.ticks.values())}
    colours = {"colorscale": scale, "cmin": shown.low, "cmax": shown.high, "colorbar": bar}
    figure.update_layout(height=180 + max(16, min(32, 900 // len(rows))) * len(rows), **layout_of(shown.subject))
    figure.update_layout(coloraxis=colours)
    figure.update_xaxes(title_text=shown.x_label, showgrid=False, zeroline=False)
    figure.update_yaxes(showgrid=False, zeroline=False, range=[len(rows) - 0.5, -0.5])
    figure.update_yaxes(tickvals=rows, ticktext=[safe(name, 40) for name in shown.rows], automargin=True, col=1)
    return figure
