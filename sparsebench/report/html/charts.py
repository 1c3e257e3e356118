"""The figures of a report as charts of plotly, from the same data as the pictures, with values under the pointer."""

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go

from sparsebench.points.points import Section
from sparsebench.report import tradeoffs
from sparsebench.report.html.bar_charts import latency_chart, size_chart
from sparsebench.report.html.heat_charts import heat_chart
from sparsebench.report.html.line_charts import accuracy_chart, calibration_chart
from sparsebench.report.html.tradeoff_charts import trade_off_chart
from sparsebench.report.interaction import interaction_map
from sparsebench.report.layer_heatmap import layer_map


def charts(section: Section) -> dict[str, dict[str, Any]]:
    """Return the charts of a section, by the kind of figure that each stands for."""
    makers: dict[str, Callable[[Section], go.Figure | None]] = {
        "pareto-size": lambda s: trade_off_chart(s, tradeoffs.against_size(s)),
        "pareto-latency": lambda s: trade_off_chart(s, tradeoffs.against_latency(s)),
        "pareto-macs": lambda s: trade_off_chart(s, tradeoffs.against_macs(s)),
        "accuracy-sparsity": accuracy_chart,
        "interaction": lambda s: heat_chart(interaction_map(s), "pp"),
        "accuracy-calibration": calibration_chart,
        "latency": latency_chart,
        "size": size_chart,
        "layer-sparsity": lambda s: heat_chart(layer_map(s), "% zero"),
    }
    found = {kind: make(section) for kind, make in makers.items()}
    return {kind: figure.to_plotly_json() for kind, figure in found.items() if figure is not None}
