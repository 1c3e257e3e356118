"""Choosing among points: what meets the limits, which is best, and from which others it cannot be told.

``sparsebench.decide.answering`` makes the answer of it, for ``sparsebench pick`` and for reports.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sparsebench.decide.criteria import TIMED, Criterion, Reading, criteria_of, limits_of
from sparsebench.points.baselines import FP32
from sparsebench.points.points import Point, Section

MAX_DROP_PP = 1.0
"""Largest drop of accuracy or another share, in percentage points, with which a network may be picked."""

MAX_DROP_SHARE = 0.01
"""The same of a metric that is no share, as a share of what dense fp32 has."""


def default_limit(section: Section) -> float:
    """Return the largest drop with which a network may be picked where none is said, in the unit of a drop.

    That of a metric that is no share is rounded to two digits.
    """
    if section.scale.share:
        return MAX_DROP_PP
    dense = next((abs(p.value.mean) for p in section.shown if p.is_baseline and p.value), 0.0)
    return float(f"{MAX_DROP_SHARE * dense:.2g}")


def drop_reading(section: Section, point: Point) -> Reading | None:
    """Return what the network of a point loses that would ship."""
    return limits_of(section.scale)["drop"].read(section, point)


_ROUNDING = 1 + 1e-9


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is looked for.

    Attributes:
        objective: name of the criterion that matters most.
        then: names of those that decide among points that the ones before cannot tell apart, in this order.
        limits: the largest value allowed, by name: a drop in its unit, bytes, milliseconds or MACs.
        strict: whether a limit must hold for the unfavourable end of the interval, or for every seed of what is exact,
            and not for the estimate or the mean alone.
        only_faster: whether the lowest latency must be one that was found FASTER than dense fp32.
        exportable_only: whether only networks may be chosen that can be written as a file for a runtime.
        eligible: which points may be chosen.
    """

    objective: str
    then: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    strict: bool = False
    only_faster: bool = False
    exportable_only: bool = False
    eligible: Callable[[Point], bool] = lambda _: True

    @property
    def timed(self) -> bool:
        """Whether latency has a part in it."""
        return any(name in TIMED for name in (self.objective, *self.then, *self.limits))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One criterion at work: the group that it chooses from, the best of it, and rivals that are not worse for sure.

    ``best`` is None where none of the group was measured, or where none was found FASTER and it has to be.
    """

    criterion: Criterion
    group: tuple[Point, ...]
    best: Point | None
    rivals: tuple[Point, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The answer to a question.

    Attributes:
        section: where it was looked for.
        question: the question.
        eligible: points that may be chosen at all.
        candidates: those of them that meet all limits.
        invalid: candidates whose timing cannot be trusted; empty where latency has no part in the question.
        steps: the criteria in their order, up to the one that decided or the last.
    """

    section: Section
    question: Question
    eligible: tuple[Point, ...]
    candidates: tuple[Point, ...]
    invalid: tuple[Point, ...]
    steps: tuple[Step, ...]

    @property
    def leader(self) -> Point | None:
        """The point with the best estimate by the objective, whether or not it can be told from the others."""
        return self.steps[0].best

    @property
    def equals(self) -> tuple[Point, ...]:
        """The best by all criteria, and what cannot be told from it."""
        last = self.steps[-1]
        return () if last.best is None else (last.best, *last.rivals)

    @cached_property
    def winner(self) -> Point | None:
        """Of those that cannot be told apart the one that loses least, then the simplest; None where there is none."""
        order = {id(point): place for place, point in enumerate(self.section.shown)}

        def loss_and_effort(point: Point) -> tuple[float, bool, bool, int]:
            reading = drop_reading(self.section, point)
            lost = max(0.0, reading.value) if reading else float("inf")  # a gain this small is luck
            return lost, not point.dense, point.scheme != FP32, order[id(point)]

        return min(self.equals, key=loss_and_effort, default=None)

    def is_faster(self, point: Point) -> bool:
        """Whether a point was found FASTER than dense fp32, where latencies are read."""
        return _is_faster(self.section, point)

    @property
    def runner_up(self) -> Point | None:
        """The next best by the criterion that decided, or None."""
        last = self.steps[-1]
        return best_of(self.section, last.criterion, [p for p in last.group if p is not self.winner])


def choose(section: Section, question: Question) -> Choice:
    """Return the choice among the points shown of a section."""
    allowed = [point for point in section.shown if point.exports_to or not question.exportable_only]
    eligible = tuple(point for point in allowed if question.eligible(point))
    limited = limits_of(section.scale)
    candidates = tuple(
        point
        for point in eligible
        if all(meets(section, point, limited[name], most, question.strict) for name, most in question.limits.items())
    )
    timed = [(p, p.timing(section.setting)) for p in candidates if question.timed]
    return Choice(
        section=section,
        question=question,
        eligible=eligible,
        candidates=candidates,
        invalid=tuple(p for p, timing in timed if timing and not timing.reference.is_trusted),
        steps=tuple(_steps(section, question, candidates)),
    )


def meets(section: Section, point: Point, criterion: Criterion, limit: float, strict: bool) -> bool:
    """Whether a point is known to stay within a limit; what was not measured is not."""
    reading = criterion.read(section, point)
    return reading is not None and (reading.high if strict else reading.value) <= limit


def best_of(section: Section, criterion: Criterion, points: Sequence[Point]) -> Point | None:
    """Return the point with the best estimate; of equals the one that loses less, of these the first."""
    ranked = [
        (rank, reading.value if (reading := drop_reading(section, point)) else float("inf"), place)
        for place, point in enumerate(points)
        if (rank := criterion.rank(section, point)) is not None
    ]
    return points[min(ranked)[2]] if ranked else None


def _steps(section: Section, question: Question, candidates: tuple[Point, ...]) -> Iterator[Step]:
    group = candidates
    for name in (question.objective, *question.then):
        step = _step(section, criteria_of(section.scale)[name], group, question.only_faster)
        yield step
        if step.best is None or not step.rivals:
            return
        group = (step.best, *step.rivals)


def _step(section: Section, criterion: Criterion, group: tuple[Point, ...], only_faster: bool) -> Step:
    faster = [point for point in group if _is_faster(section, point)]
    best = best_of(section, criterion, faster if only_faster and criterion.timed else group)
    if best is None:
        return Step(criterion=criterion, group=group, best=None)
    # What may be no faster than dense fp32 is no rival of what is.
    beside = faster if criterion.timed and _is_faster(section, best) else group
    others = [p for p in beside if p is not best and criterion.read(section, p) is not None]
    rivals = tuple(
        p
        for p in others
        if not criterion.apart(section, best, p, len(others)) and _is_known_as_well(section, criterion, best, p)
    )
    return Step(criterion=criterion, group=group, best=best, rivals=rivals)


def _is_known_as_well(section: Section, criterion: Criterion, best: Point, other: Point) -> bool:
    """Whether a point whose interval overlaps the best one's is as good for all that is known.

    One whose latency is known far less exactly, as that of a session in which the baseline was restless, may be far
    slower. Where intervals are equally wide, overlapping is enough.
    """
    if not criterion.timed or best.is_baseline or other.is_baseline:
        return True
    mine, theirs = criterion.read(section, best), criterion.read(section, other)
    return mine is None or theirs is None or theirs.high * mine.low <= mine.high * mine.high * _ROUNDING


def _is_faster(section: Section, point: Point) -> bool:
    timing = point.timing(section.setting)
    return timing is not None and timing.reference.is_faster


def no_answer(section: Section) -> str:
    """Return why nothing of a section can be chosen, as a sentence; empty where something can."""
    if not section.shown:
        return "No trial has finished, so there is no answer yet."
    if all(point.drop is None for point in section.shown):
        return "No answer: without a finished dense fp32 trial, nothing can be compared."
    if any(point.is_baseline and point.chance for point in section.shown):
        return "No answer: the dense network does no better than guessing, so there is no accuracy to lose."
    return ""
