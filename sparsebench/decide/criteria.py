"""What points can be chosen by: how a criterion is read, limited and printed, and when it tells two points apart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

from sparsebench.points.baselines import SeedResult
from sparsebench.points.drops import Correctness, Drop
from sparsebench.points.points import Point, Section
from sparsebench.points.rows import exact_value
from sparsebench.points.shipping import drop_on
from sparsebench.statistics.verdicts import LEVEL, Verdict
from sparsebench.store.results import EvaluateResult
from sparsebench.store.scales import Scale
from sparsebench.wording.numbers import (
    BYTES,
    COUNT,
    MILLISECONDS,
    Dimension,
    decimal,
    kilobytes,
    significant,
)
from sparsebench.wording.scales import loss_dimension, loss_number, value_text, with_unit


class Reading(NamedTuple):
    """A value and how far it is known: the limits of its 95 % interval, or the range over seeds of what is exact."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Criterion:
    """Something that a point has more or less of.

    Attributes:
        name: as the command line takes it.
        noun: as it stands in a sentence.
        superlative: what the best point by it has: ``the lowest latency``.
        dimension: of a limit on it.
        read: the reading of a point, None where it was not measured.
        shown: the value with its unit.
        apart: whether a leader may be told from one of the others, given how many others there are.
        most: whether more is better.
        timed: whether it needs a clock.
    """

    name: str
    noun: str
    superlative: str
    dimension: Dimension
    read: Callable[[Section, Point], Reading | None]
    shown: Callable[[float], str]
    apart: Callable[[Section, Point, Point, int], bool]
    most: bool = False
    timed: bool = False

    def rank(self, section: Section, point: Point) -> float | None:
        """Return what is smallest for the best point; None where it was not measured."""
        reading = self.read(section, point)
        return None if reading is None else -reading.value if self.most else reading.value


def _latency(section: Section, point: Point) -> Reading | None:
    """Return a point's latency as it is shown everywhere, with the interval of its speedup over the baseline."""
    timing, value = point.timing(section.setting), section.latency_ms(point)
    if timing is None or value is None:
        return None
    speed = timing.reference
    return Reading(value, value * speed.speedup / speed.high, value * speed.speedup / speed.low)


def advantage(section: Section, leader: Point, other: Point) -> Drop | None:
    """Return how much better a point is than another by the metric, on the samples by which is chosen.

    They are compared over the seeds that they share.
    """
    theirs = {seed.trial.trial.seed: _scored(section, seed) for seed in other.seeds}
    return Correctness().drop([(_scored(section, s), theirs.get(s.trial.trial.seed)) for s in leader.seeds])


def _scored(section: Section, seed: SeedResult) -> EvaluateResult | None:
    return seed.trial.validated if section.chosen_on == "val" else seed.trial.evaluated


def _value(section: Section, point: Point) -> Reading | None:
    scored = [found for seed in point.seeds if (found := _scored(section, seed))]
    if not scored:
        return None
    ends = [
        ((one.value if one.low is None else one.low), (one.value if one.high is None else one.high)) for one in scored
    ]
    rows = ((one.value, *both) for one, both in zip(scored, ends, strict=True))
    return Reading(*(sum(values) / len(scored) for values in zip(*rows, strict=True)))


def _drop(section: Section, point: Point) -> Reading | None:
    """Return what the network loses that would ship, on the samples by which is chosen."""
    drop = drop_on(point.ships, section.chosen_on) if point.ships else None
    if drop and point.is_baseline:
        return Reading(0.0, 0.0, 0.0)  # against itself, for sure
    return None if drop is None else Reading(drop.loss, drop.low, drop.high)


def _faster(section: Section, leader: Point, other: Point, _: int) -> bool:
    """Whether intervals and verdicts leave no doubt; they do where the two were not timed beside the same baseline."""
    mine, theirs = leader.timing(section.setting), other.timing(section.setting)
    if mine is None or theirs is None or mine.reference.baseline != theirs.reference.baseline:
        return False
    if theirs.reference.verdict is Verdict.BASELINE:
        return mine.reference.is_faster
    if mine.reference.verdict is Verdict.BASELINE:
        return theirs.reference.is_slower
    trusted = mine.reference.is_trusted and theirs.reference.is_trusted
    return trusted and mine.reference.low > theirs.reference.high


def _better(section: Section, leader: Point, other: Point, others: int) -> bool:
    """Whether the paired difference holds; adjusted by Bonferroni, for the leader has to beat each of the others."""
    found = advantage(section, leader, other)
    return found is not None and found.loss > 0 and found.these_networks.p_value * others <= LEVEL


def _exact(name: str, noun: str, superlative: str, dimension: Dimension, shown: Callable[[float], str]) -> Criterion:
    """Return a criterion that is known exactly of each seed: one point is better where it is for every seed."""

    def values(seeds: Sequence[SeedResult]) -> dict[int, float]:
        found = ((seed.trial.trial.seed, exact_value(name, seed.trial)) for seed in seeds)
        return {seed: number for seed, number in found if number is not None}

    def read(_: Section, point: Point) -> Reading | None:
        found = values(point.seeds).values()
        return Reading(sum(found) / len(found), min(found), max(found)) if found else None

    def apart(_: Section, leader: Point, other: Point, __: int) -> bool:
        mine, theirs = values(leader.seeds), values(other.seeds)
        if common := mine.keys() & theirs.keys():
            return all(mine[seed] < theirs[seed] for seed in common)
        return bool(mine and theirs) and max(mine.values()) < min(theirs.values())

    return Criterion(name, noun, superlative, dimension, read, shown, apart)


def _bytes(value: float) -> str:
    return f"{kilobytes(value)} kB"


MEASURED = {
    criterion.name: criterion
    for criterion in (
        Criterion(
            "latency",
            "latency",
            "the lowest latency",
            MILLISECONDS,
            _latency,
            lambda value: f"{significant(value)} ms",
            _faster,
            timed=True,
        ),
        _exact("size", "saved file", "the smallest saved file", BYTES, _bytes),
        _exact("deflated_size", "deflated file", "the smallest deflated file", BYTES, _bytes),
        _exact("flash", "flash", "the least flash", BYTES, _bytes),
        _exact(
            "macs",
            "MACs with a non-zero weight",
            "the fewest MACs with a non-zero weight",
            COUNT,
            lambda value: f"{decimal(value, 0)} MACs",
        ),
        _exact("memory", "working memory", "the smallest working memory", BYTES, _bytes),
    )
}
"""What a point may be chosen by, by name, and limited by, beside its metric."""

_RAM = _exact("ram", "RAM", "the least RAM", BYTES, _bytes)
"""What it may be limited by beside: the arena of a microcontroller where it was measured, otherwise working memory."""


@cache
def by_metric(scale: Scale) -> Criterion:
    """Return the criterion that a metric is, by its name."""
    return Criterion(
        scale.metric,
        scale.title,
        f"the {'highest' if scale.higher_is_better else 'lowest'} {scale.title}",
        loss_dimension(scale),
        _value,
        partial(value_text, scale),
        _better,
        most=scale.higher_is_better,
    )


@cache
def drop_of(scale: Scale) -> Criterion:
    """Return the criterion that a loss of a metric is."""
    return Criterion(
        "drop",
        "drop",
        "the smallest drop",
        loss_dimension(scale),
        _drop,
        lambda value: with_unit(scale, loss_number(scale, value)),
        lambda *_: False,  # nothing is chosen by it: the metric is
    )


@cache
def criteria_of(scale: Scale) -> Mapping[str, Criterion]:
    """Return what a point may be chosen by, by name, in a run of this metric."""
    return {**MEASURED, scale.metric: by_metric(scale)}


@cache
def limits_of(scale: Scale) -> Mapping[str, Criterion]:
    """Return what may be limited, by name; a limit is the largest value allowed."""
    return {"drop": drop_of(scale), **MEASURED, _RAM.name: _RAM}


TIMED = frozenset(name for name, criterion in MEASURED.items() if criterion.timed)
"""Names of what needs a clock."""
