"""Which points tables show where there are more than a person reads."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sparsebench.points.latency import Setting
from sparsebench.points.points import Point, Section
from sparsebench.report.answer import named
from sparsebench.wording.text import counted, evenly

MOST_ROWS = 200
"""Points up to which every one of a section has its row in each table."""

MOST_IN_FRONT = 12
"""Rows of the table beside the answer."""


def excerpt(section: Section) -> tuple[Point, ...]:
    """Return all points that are shown, or of too many those between which is decided, in their order.

    These are the dense networks, the picks, and what no other point of its backend beats in accuracy and one of size,
    latency and MACs. The rest of the rows goes to other points, evenly spaced in the order of the table, so that it can
    be seen how things go in between. Of too many of the former, evenly spaced ones are kept too.
    """
    if len(section.shown) <= MOST_ROWS:
        return section.shown
    picks = {id(point) for point in named(section).points}
    kept = set(picks)
    costs = (lambda point: point.deflated_file_bytes, section.latency_ms, lambda point: point.effective_macs)
    for points in map(section.on, section.backends):
        most = max(2, MOST_ROWS * len(points) // len(section.shown))
        best = [point for cost in costs for point in unbeaten(points, cost)]
        dense = [point for point in points if point.dense]
        wanted = picks | {id(point) for point in (*dense, *best)}
        first = evenly([point for point in points if id(point) in wanted], most)
        room = most - len(first)
        rest = evenly([point for point in points if id(point) not in wanted], room) if room > 1 else []
        kept |= {id(point) for point in (*first, *rest)}
    return tuple(point for point in section.shown if id(point) in kept)


def in_front(section: Section, most: int = MOST_IN_FRONT) -> tuple[Point, ...]:
    """Return the points beside the answer: those that are named, the front, and the baselines they are compared with.

    The front is what no other point beats in accuracy and one of size and latency at each batch size, the smallest
    first. Of too many it keeps those that lose least: what breaks down is nobody's choice.
    """
    chosen = named(section).points
    backends = [section.backends[:1], [point.backend for point in chosen]] if section.backends else []
    beside = {backend for names in backends for backend in names}
    baselines = [point for point in section.shown if point.is_baseline and point.backend in beside]
    costs = [lambda point: point.deflated_file_bytes, *(_latency_at(section, setting) for setting in section.settings)]
    front = {id(point): point for cost in costs for point in unbeaten(section.shown, cost)}
    others = [point for point in front.values() if all(point is not other for other in (*chosen, *baselines))]
    room = max(0, most - len(chosen) - len(baselines))
    kept = sorted(others, key=lambda point: -point.scale.merit(point.value.mean) if point.value else 0.0)[:room]
    kept.sort(key=lambda point: point.deflated_file_bytes or 0.0)
    rows = (*chosen, *kept, *(point for point in baselines if all(point is not other for other in chosen)))
    return rows[:most]


def _latency_at(section: Section, setting: Setting) -> Callable[[Point], float | None]:
    at = replace(section, preferred=setting)
    return at.latency_ms


def unbeaten(points: Iterable[Point], cost: Callable[[Point], float | None]) -> list[Point]:
    """Return the points than which no other is both cheaper and better by the metric."""
    placed = [
        (found, -point.scale.merit(point.value.mean), point)
        for point in points
        if point.value and (found := cost(point)) is not None
    ]
    best: list[tuple[float, Point]] = []
    for _, loss, point in sorted(placed, key=lambda one: one[:2]):
        if not best or loss < best[-1][0]:
            best.append((loss, point))
    return [point for _, point in best]


def excerpt_note(section: Section, shown: Sequence[Point]) -> str:
    """Return the sentence that says what tables leave out; empty where they leave out nothing."""
    if len(shown) == len(section.shown):
        return ""
    return (
        f"Tables show {len(shown):,} of {counted(len(section.shown), 'point')}: the dense networks, the named ones, "
        "the front, and evenly spaced ones of the others. Every point is in [data.json](data.json), every trial in "
        "[data.csv](data.csv)."
    )
