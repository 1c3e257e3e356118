"""The networks that a search ends with: trained in full, chosen on validation, timed, and read once on the test set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sparsebench.decide.choosing import drop_reading, meets
from sparsebench.decide.criteria import MEASURED, limits_of
from sparsebench.points.points import Point, Section, sections_of
from sparsebench.runner.facts import FP32
from sparsebench.search.fronts import Values, front
from sparsebench.search.judging import METRIC, Judge
from sparsebench.search.plans import Format
from sparsebench.store.records import TrialRecord, TrialResult

Identity = tuple[str, float, str, str]
"""Pruner, threshold, scheme and backend of a point."""


def identity_of(trial: TrialRecord) -> Identity:
    """Return what tells the point of a trial from others."""
    return trial.pruner or "", trial.threshold, trial.scheme, trial.backend


def identity(point: Point) -> Identity:
    """Return the same of a point."""
    return "" if point.dense else point.pruner or "", point.threshold, point.scheme, point.backend


def is_control(trial: TrialRecord) -> bool:
    """Whether a trial is of dense fp32, with which others are compared."""
    return not trial.threshold and trial.scheme == FP32


def on_validation(trials: Sequence[TrialResult]) -> Section:
    """Return the section that some trials make, in which what stands for the test set is the validation split.

    So points are compared as those of a run are, and nobody has read the test set.
    """
    return sections_of([replace(trial, evaluate=trial.validate) for trial in trials])[0]


class Finals:
    """Chooses among points that were trained in full.

    Args:
        judge: objectives and limits.
        section: the points.
        offered: whether a point may be chosen: dense fp32 is there whether it was asked for or not.
        latency: whether latencies were measured, so that limits and objectives of it count.
    """

    def __init__(
        self, judge: Judge, section: Section, offered: Callable[[Format], bool], latency: bool = False
    ) -> None:
        self.judge, self.section, self._offered, self._latency = judge, section, offered, latency

    def keeps(self, point: Point) -> bool:
        """Whether a point keeps all limits: a latency by the upper end of its interval, all else by its estimate.

        What is exact has to hold for every seed.
        """
        known = limits_of(self.section.scale)
        return all(
            meets(self.section, point, known[name], most, strict=name != "drop")
            for name, most in self.judge.limits.items()
            if name != "latency" or self._latency
        )

    def values(self, point: Point) -> Values | None:
        """Return the values of a point, of which less is better; of a latency the upper end of its interval counts."""
        if point.value is None or (point.drop is None and not point.is_baseline):
            return None
        loss = 0.0 if point.drop is None or point.is_baseline else point.drop.loss
        costs: dict[str, float] = {}
        for name in self.judge.objectives:
            if name == METRIC:
                continue
            if name == "latency" and not self._latency:
                costs[name] = self.judge.dense.get(name, 1.0)
                continue
            reading = MEASURED[name].read(self.section, point)
            if reading is not None:
                costs[name] = reading.high if name == "latency" else reading.value
        return self.judge.values(loss, costs)

    @property
    def candidates(self) -> list[Point]:
        """The points that may be chosen and keep all limits."""
        shown = self.section.shown
        return [
            point
            for point in shown
            if self._offered(Format(point.scheme, point.backend))
            and not point.predicts_one_class
            and self.keeps(point)
            and self.values(point) is not None
        ]

    @property
    def front(self) -> list[Point]:
        """Those of the candidates that no other beats in everything, smallest loss first."""
        candidates = self.candidates
        values = [self.values(point) or () for point in candidates]
        best = front(values)
        return [candidates[place] for place in sorted(best, key=lambda place: values[place])]

    def nearest(self) -> str:
        """Return in a sentence how near any point comes to the limits; empty where none was evaluated."""
        known = limits_of(self.section.scale)
        told = []
        for name, most in self.judge.limits.items():
            readings = {id(p): known[name].read(self.section, p) for p in self.section.shown}
            found = [(reading.value, point) for point in self.section.shown if (reading := readings[id(point)])]
            if found:
                value, point = min(found, key=lambda pair: pair[0])
                limit = known[name].shown(most)
                told.append(f"{known[name].noun} ≤ {limit}: the least is {known[name].shown(value)}, of {point.label}")
        return "; ".join(told)


def losses(section: Section, points: Sequence[Point]) -> Mapping[Identity, float]:
    """Return what the network of each point loses that would ship, in the unit of a drop."""
    found = ((identity(point), drop_reading(section, point)) for point in points)
    return {name: reading.value for name, reading in found if reading is not None}
