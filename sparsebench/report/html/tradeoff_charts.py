"""Pareto fronts as charts."""

from collections import defaultdict
from collections.abc import Sequence

import plotly.graph_objects as go

from sparsebench.points.points import Section
from sparsebench.report.canvas import log_range
from sparsebench.report.html.hover import hover
from sparsebench.report.html.parts import Style, faded, log_axis, panels, percent_axis, place_in, reach
from sparsebench.report.palette import INK, MUTED
from sparsebench.report.pareto import FAINT, MOST_WITH_BARS, name_of
from sparsebench.report.tradeoffs import Spot, TradeOff, front


def trade_off_chart(section: Section, shown: TradeOff | None) -> go.Figure | None:
    """Return a trade-off as a chart, one panel a backend; None where there is nothing to show."""
    if shown is None:
        return None
    figure = panels(section.title, tuple(shown.panels), shown.x_label, "top-1 accuracy, %")
    style = Style(section)
    low, high = log_range(shown.values)
    inward = low * (high / low) ** 0.1
    for number, found in enumerate(shown.panels.values()):
        place = place_in(number, len(shown.panels))
        spots, best = shown.placed(found), shown.placed(front(found))
        figure.add_trace(_joined(best, "solid"), **place)
        if len(shown.panels) > 1:
            figure.add_trace(_joined(shown.placed(front(shown.spots)), "dot"), **place)
        chosen = {id(spot.point) for spot in best} | shown.picks.keys()
        groups: defaultdict[tuple[str, str | None, bool], list[Spot]] = defaultdict(list)
        for spot in spots:
            groups[spot.point.scheme, spot.point.pruner, id(spot.point) in chosen].append(spot)
        few = len(spots) - len(best) <= MOST_WITH_BARS
        # What leads comes first, so that the legend shows its full colour.
        for (_, _, leading), group in sorted(groups.items(), key=lambda item: not item[0][2]):
            figure.add_trace(_marks(section, style, group, leading, leading or few, inward), **place)
        _rings(figure, shown, spots, place)
    percent_axis(figure, [(spot.low, spot.high) for spot in shown.spots])
    log_axis(figure, shown.values, len(shown.panels))
    return figure


def _joined(spots: Sequence[Spot], dash: str) -> go.Scatter:
    return go.Scatter(
        x=[s.x for s in spots],
        y=[s.y for s in spots],
        mode="lines",
        line={"shape": "hv", "color": MUTED, "width": 1, "dash": dash},
        hoverinfo="skip",
        showlegend=False,
    )


def _marks(
    section: Section,
    style: Style,
    spots: Sequence[Spot],
    leading: bool,
    with_bars: bool,
    inward: float,
) -> go.Scatter:
    """Return the marks of one scheme and pruner; labels of spots left of ``inward`` stand to their right."""
    scheme, pruner = spots[0].point.scheme, spots[0].point.pruner
    colour = faded(style.colour(scheme), 1.0 if leading else FAINT)
    both = {}
    if with_bars:
        both["error_y"] = reach([(s.low, s.y, s.high) for s in spots], colour)
        if any(s.x_low != s.x_high for s in spots):
            both["error_x"] = reach([(s.x_low or s.x, s.x, s.x_high or s.x) for s in spots], colour)
    return go.Scatter(
        x=[s.x for s in spots],
        y=[s.y for s in spots],
        mode="markers+text" if leading else "markers",
        text=[name_of(s.point) for s in spots] if leading else None,
        textposition=["top right" if s.x < inward else "top left" for s in spots],
        textfont={"size": 10, "color": INK},
        marker={
            "color": colour,
            "symbol": style.symbol(scheme, pruner),
            "size": 10 if leading else 8,
            "line": {"color": colour, "width": 1},
        },
        hovertext=[hover(section, s.point) for s in spots],
        hoverinfo="text",
        **both,
        **style.legend(style.name(scheme, pruner)),
    )


def _rings(figure: go.Figure, shown: TradeOff, spots: Sequence[Spot], place: dict[str, int]) -> None:
    """Ring the picks, and say what they are picked for."""
    ringed = [spot for spot in spots if id(spot.point) in shown.picks]
    if ringed:
        figure.add_trace(
            go.Scatter(
                x=[s.x for s in ringed],
                y=[s.y for s in ringed],
                mode="markers+text",
                marker={"symbol": "circle-open", "size": 18, "color": MUTED, "line": {"width": 1.5}},
                text=[f"<b>{shown.picks[id(s.point)]}</b>" for s in ringed],
                textposition="bottom right",
                hoverinfo="skip",
                showlegend=False,
                cliponaxis=False,
            ),
            **place,
        )
