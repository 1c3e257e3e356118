"""The answer to a question: the network that is named, and whether the test set shows that it keeps its limit.

A choice among many is made on the validation split, and the network that comes out of it is looked at once on the test
set. PICKED is what keeps its limit there, all of its interval; what may or may not is OPEN, with the number of test
samples that would settle it.

Where a run has no validation results, both are done on the test set. As many networks as were chosen from had the
chance to look better than they are there, so the interval is as wide as it takes for all of them together (Bonferroni).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from scipy.special import ndtri

from sparsebench.decide.choosing import Choice, Question, choose
from sparsebench.points.drops import Drop
from sparsebench.points.points import Point, Section
from sparsebench.points.shipping import Split, drop_on
from sparsebench.statistics.verdicts import LEVEL
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.wording.numbers import rounded_up

MOST_SAMPLES = 1_000_000
"""Test samples beyond which nothing is advised: what is so close to its limit is not settled by samples."""


class State(StrEnum):
    """Whether a network is known to keep its limit on what it loses."""

    PICKED = "PICKED"
    OPEN = "OPEN"


class Proof(NamedTuple):
    """What the test set says of the network that would ship.

    Attributes:
        limit: the most that it may lose, in the unit of a drop.
        drop: what it loses; None of dense fp32, which loses nothing.
        low: lower end of the interval by which it is judged.
        high: the upper end.
        samples: test samples that were read.
        looks: how many networks it was chosen from on these very samples; 1 where it was chosen on others.
        scale: of the metric that is lost.
    """

    limit: float
    drop: Drop | None
    low: float
    high: float
    samples: int
    looks: int
    scale: Scale = ACCURACY

    @property
    def loss(self) -> float:
        """What it loses, in the unit of a drop."""
        return self.drop.loss if self.drop else 0.0

    @property
    def state(self) -> State:
        """PICKED where all of the interval keeps the limit."""
        return State.PICKED if self.high <= self.limit else State.OPEN

    @property
    def samples_needed(self) -> int | None:
        """Test samples that would settle it, if it really loses what it seems to; None where no number is likely to.

        Half an interval shrinks with the root of their number.
        """
        room, reach = self.limit - self.loss, self.high - self.loss
        if room <= 0 or not math.isfinite(reach):
            return None
        needed = rounded_up(self.samples * (reach / room) ** 2)
        return needed if needed <= MOST_SAMPLES else None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is named for a question.

    Attributes:
        choice: what it comes from.
        point: the network; None where none meets the limits.
        proof: what the test set says of it; None where that is not known.
        better: a network that would be better, but is OPEN where the one named is PICKED; None where there is none.
        better_proof: what the test set says of that.
    """

    choice: Choice
    point: Point | None = None
    proof: Proof | None = None
    better: Point | None = None
    better_proof: Proof | None = None

    @property
    def state(self) -> State | None:
        """Whether the network that is named is known to keep its limit."""
        return self.proof.state if self.point and self.proof else None


def answer(section: Section, question: Question) -> Answer:
    """Return the network to name.

    By the samples by which is chosen, it is the best of those that keep the limit on what they lose, all of them
    together; without such ones, of those that keep it each for itself; without these, of those that seem to keep it.
    One look at the test set makes it PICKED. If that fails, the best of those that seem to keep the limit on both is
    named, and counted is how many these are.
    """
    limit = question.limits.get("drop")
    if limit is None:
        choice = choose(section, question)
        return Answer(choice=choice, point=choice.winner)
    whole = choose(section, question)
    others = max(1, sum(not point.is_baseline for point in whole.eligible))
    on_validation = section.chosen_on == "val"
    choices = [whole]
    for looks in (1, others) if on_validation else (others,):
        keeps = _both(question.eligible, partial(_keeps, split=section.chosen_on, limit=limit, looks=looks))
        choices.insert(0, choose(section, replace(question, eligible=keeps)))
    gaining = [choice for choice in choices if _gains(choice)]
    first = next(iter(gaining or [choice for choice in choices if choice.winner]), whole)
    if first.winner is None:
        return Answer(choice=whole)
    proof = prove(first.winner, limit, 1 if on_validation else others)
    both = choose(section, replace(question, eligible=_both(question.eligible, partial(_seems, limit=limit))))
    if proof is None or proof.state is State.OPEN:
        if both.winner is None or both.winner is first.winner:
            return Answer(choice=first, point=first.winner, proof=proof)
        return Answer(choice=both, point=both.winner, proof=prove(both.winner, limit, others))
    better = both.winner
    if better is None or any(first.winner is point for point in both.equals):
        return Answer(choice=first, point=first.winner, proof=proof)
    told = prove(better, limit, others)
    return Answer(choice=first, point=first.winner, proof=proof, better=better, better_proof=told)


def prove(point: Point, limit: float, looks: int = 1) -> Proof | None:
    """Return what the test set says of the network of a point that would ship; None where it has no baseline.

    Args:
        point: the point.
        limit: the most that it may lose, in the unit of a drop.
        looks: how many networks had their chance on these samples.
    """
    ships = point.ships
    if ships is None or ships.trial.evaluated is None:
        return None
    samples = ships.trial.evaluated.samples
    if point.is_baseline:
        return Proof(limit, None, 0.0, 0.0, samples, looks, point.scale)
    if ships.drop is None:
        return None
    return Proof(limit, ships.drop, *_limits(ships.drop, looks), samples, looks, point.scale)


def _limits(drop: Drop, looks: int) -> tuple[float, float]:
    """Return the interval for these networks, as wide as it takes for so many of them together."""
    if not math.isfinite(drop.high):
        return drop.low, drop.high
    middle = (drop.low + drop.high) / 2
    reach = (drop.high - middle) * float(ndtri(1 - LEVEL / 2 / max(1, looks)) / ndtri(1 - LEVEL / 2))
    return middle - reach, middle + reach


def _keeps(point: Point, split: Split, limit: float, looks: int) -> bool:
    """Whether the network that would ship keeps the limit on a split, all of its interval."""
    drop = drop_on(point.ships, split) if point.ships else None
    return point.is_baseline or (drop is not None and _limits(drop, looks)[1] <= limit)


def _seems(point: Point, limit: float) -> bool:
    """Whether the network that would ship does not seem to break the limit on test."""
    drop = point.ships.drop if point.ships else None
    return point.is_baseline or (drop is not None and drop.loss <= limit)


def _both(first: Callable[[Point], bool], second: Callable[[Point], bool]) -> Callable[[Point], bool]:
    return lambda point: first(point) and second(point)


def _gains(choice: Choice) -> bool:
    """Whether what a choice names is more than dense fp32, which always keeps every limit on what is lost."""
    if choice.winner is None:
        return False
    timed = choice.steps[-1].criterion.timed
    return choice.is_faster(choice.winner) if timed else not choice.winner.is_baseline
