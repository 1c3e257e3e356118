"""What is smallest and what is fastest among the points that lose little."""

from dataclasses import dataclass

from sparsebench.decide.choosing import Choice, Question, choose
from sparsebench.points.points import Point, Section

MAX_DROP_PP = 1.0
"""Largest mean drop of top-1 accuracy, in percentage points, with which a point may be picked."""


@dataclass(frozen=True)
class Picks:
    """The chosen points; None where nothing qualifies. ``candidates`` counts the points chosen from.

    ``timed`` is whether any of them was timed; where it was and ``fastest`` is None, none was found FASTER.
    ``as_small`` and ``as_fast`` are the others that ``smallest`` and ``fastest`` cannot be told from.
    """

    smallest: Point | None
    fastest: Point | None
    timed: bool
    candidates: int
    as_small: tuple[Point, ...] = ()
    as_fast: tuple[Point, ...] = ()


def pick(section: Section) -> Picks:
    """Choose the smallest deflated file and the lowest latency among points that lose at most ``MAX_DROP_PP``.

    Only what was compressed can be chosen, or the dense network on another backend than the first; where two points
    are equally small or fast, the one that loses less is. Only what was found FASTER than dense fp32 can be the
    fastest: than that of eager, or where that was not timed along, than that of its own backend.
    """
    reference = section.shown[0].backend if section.shown else None

    def compressed(point: Point) -> bool:
        return not (point.is_baseline and point.backend == reference)

    def chosen(objective: str) -> Choice:
        limits = {"drop": MAX_DROP_PP}
        return choose(section, Question(objective=objective, limits=limits, only_faster=True, eligible=compressed))

    size, speed = chosen("deflated_size"), chosen("latency")
    return Picks(
        smallest=size.leader,
        fastest=speed.leader,
        timed=any(point.timing(section.setting) for point in size.candidates),
        candidates=len(size.candidates),
        as_small=size.steps[0].rivals,
        as_fast=speed.steps[0].rivals,
    )


def no_answer(section: Section) -> str:
    """Return why nothing of a section can be chosen, as a sentence; empty where something can."""
    if not section.shown:
        return "No trial has finished, so there is no answer yet."
    if all(point.drop is None for point in section.shown):
        return "No answer: without a finished dense fp32 trial, nothing can be compared."
    if any(point.is_baseline and point.chance for point in section.shown):
        return "No answer: the dense network cannot be told from guessing, so there is no accuracy to lose."
    return ""
