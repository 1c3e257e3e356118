"""Pareto fronts as charts."""

from collections import defaultdict
from collections.abc import Sequence

import plotly.graph_objects as go

from sparsebench.report.html.hover import hover
from sparsebench.report.html.parts import Style, faded, panels, place_in, reach
from sparsebench.report.palette import MUTED
from sparsebench.report.pareto import FAINT, MOST_WITH_BARS
from sparsebench.report.points import Section
from sparsebench.report.tradeoffs import Spot, TradeOff, front


def trade_off_chart(section: Section, shown: TradeOff | None) -> go.Figure | None:
    """Return a trade-off as a chart, one panel a backend; None where there is nothing to show."""
    if shown is None:
        return None
    figure = panels(section.title, tuple(shown.panels), shown.x_label, "top-1 accuracy, %")
    style = Style(section)
    for number, found in enumerate(shown.panels.values()):
        place = place_in(number, len(shown.panels))
        spots, best = shown.placed(found), shown.placed(front(found))
        line = {"x": [s.x for s in best], "y": [s.y for s in best], "line": {"shape": "hv", "color": MUTED, "width": 1}}
        figure.add_trace(go.Scatter(**line, mode="lines", hoverinfo="skip", showlegend=False), **place)
        chosen = {id(spot.point) for spot in best} | shown.picks.keys()
        groups: defaultdict[tuple[str, str | None, bool], list[Spot]] = defaultdict(list)
        for spot in spots:
            groups[spot.point.scheme, spot.point.pruner, id(spot.point) in chosen].append(spot)
        few = len(spots) - len(best) <= MOST_WITH_BARS
        # What leads comes first, so that the legend shows its full colour.
        for (scheme, pruner, leading), group in sorted(groups.items(), key=lambda item: not item[0][2]):
            figure.add_trace(_marks(section, style, group, scheme, pruner, leading, leading or few), **place)
        _rings(figure, shown, spots, place)
    figure.update_xaxes(type="log", dtick="D2")
    return figure


def _marks(
    section: Section,
    style: Style,
    spots: Sequence[Spot],
    scheme: str,
    pruner: str | None,
    leading: bool,
    with_bars: bool,
) -> go.Scatter:
    colour = faded(style.colour(scheme), 1.0 if leading else FAINT)
    both = {}
    if with_bars:
        both["error_y"] = reach([(s.low, s.y, s.high) for s in spots], colour)
        if any(s.x_low != s.x_high for s in spots):
            both["error_x"] = reach([(s.x_low or s.x, s.x, s.x_high or s.x) for s in spots], colour)
    return go.Scatter(
        x=[s.x for s in spots],
        y=[s.y for s in spots],
        mode="markers",
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
                text=[shown.picks[id(s.point)] for s in ringed],
                textposition="top center",
                hoverinfo="skip",
                showlegend=False,
                cliponaxis=False,
            ),
            **place,
        )
