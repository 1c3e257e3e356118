"""Which networks a report names: the smallest, and the fastest at each batch size.

``named`` is the one place where that is decided. Tables, figures, the three lines of an answer and the terminal all ask
it, so that another way to choose needs to be put here alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from sparsebench.decide.choosing import MAX_DROP_PP, Choice, Question, choose
from sparsebench.decide.pick import trial_to_ship
from sparsebench.points.baselines import FP32
from sparsebench.points.drops import Drop
from sparsebench.points.exportable import format_of
from sparsebench.points.latency import Setting
from sparsebench.points.points import Point, Section
from sparsebench.store.records import TrialResult
from sparsebench.wording.text import listing


@dataclass(frozen=True, kw_only=True)
class Fastest:
    """The answer for one batch size and number of threads.

    Attributes:
        setting: batch size and number of threads.
        point: the network that is named, None where none was found FASTER.
        equals: how many others that may be named are as fast, as far as their intervals tell.
        beaten_by: a faster network that cannot be exported, None where there is none.
        unknown: whether nothing can be said because the timing of all of them is INVALID.
    """

    setting: Setting
    point: Point | None
    equals: int = 0
    beaten_by: Point | None = None
    unknown: bool = False


@dataclass(frozen=True, kw_only=True)
class Named:
    """The networks that are named.

    Attributes:
        smallest: the one with the smallest deflated file, None where none is smaller than dense fp32.
        smaller: a smaller network that cannot be exported, None where there is none.
        fastest: one answer for each batch size and number of threads, in the order of the section.
        candidates: how many networks it was chosen from.
    """

    smallest: Point | None
    smaller: Point | None
    fastest: tuple[Fastest, ...]
    candidates: int

    @property
    def points(self) -> tuple[Point, ...]:
        """All networks that are named, each once, the smallest first."""
        found = (self.smallest, *(one.point for one in self.fastest))
        return tuple({id(point): point for point in found if point is not None}.values())

    def roles(self, section: Section) -> dict[int, str]:
        """Return what each of them is named for, by the identity of the point: ``smallest, fastest``."""
        places: dict[int, list[str]] = {}
        for one in self.fastest:
            if one.point is not None:
                places.setdefault(id(one.point), []).append(setting_name(one.setting, section))
        roles = {} if self.smallest is None else {id(self.smallest): "smallest"}
        for point, where in places.items():
            at = "" if len(where) == len(self.fastest) else f" at {listing(where)}"
            roles[point] = ", ".join(filter(None, (roles.get(point), f"fastest{at}")))
        return roles


@lru_cache(maxsize=32)
def named(section: Section, max_drop_pp: float = MAX_DROP_PP) -> Named:
    """Return the networks of a section that an answer names.

    A network may be named that can be exported, that predicts more than one class and better than by guessing, and that
    stays within the limit, both in the mean over seeds and in the very network that would ship. Of those that cannot
    be told apart it is the one that loses least, and of these the simplest. The choice is made on the test set.

    Args:
        section: where to look.
        max_drop_pp: the largest drop of top-1 accuracy, in percentage points.
    """
    reference = next(iter(section.backends), None)

    def wanted(point: Point) -> bool:
        return not (point.is_baseline and point.backend == reference) and not is_useless(point)

    fits = {id(p) for p in section.shown if wanted(p) and is_exportable(p) and _ships_within(p, max_drop_pp)}
    limits = {"drop": max_drop_pp}
    size = Question(objective="deflated_size", limits=limits, eligible=lambda p: id(p) in fits and _is_smaller(p))
    anything = replace(size, eligible=lambda p: wanted(p) and _is_smaller(p))
    chosen = choose(section, size)
    return Named(
        smallest=_least_lost(chosen, _equals(chosen)),
        smaller=_beaten_by(chosen, choose(section, anything)),
        fastest=tuple(_fastest(section, setting, limits, fits, wanted) for setting in section.settings),
        candidates=sum(id(p) in fits and p.drop is not None and p.drop.pp <= max_drop_pp for p in section.shown),
    )


def is_exportable(point: Point) -> bool:
    """Whether the network that would ship can be written as a file for a runtime."""
    trial = shipped(point)
    return trial is not None and format_of(trial) is not None


def shipped(point: Point) -> TrialResult | None:
    """Return the trial of a point's seeds that would ship; None where none was evaluated."""
    return trial_to_ship(point)[0] if any(seed.trial.evaluated for seed in point.seeds) else None


def drop_of_shipped(point: Point) -> Drop | None:
    """Return what the very network loses that would ship; None where it has nothing to be compared with."""
    trial = shipped(point)
    return next((seed.drop for seed in point.seeds if seed.trial is trial), None) if trial else None


def is_useless(point: Point) -> bool:
    """Whether some seed predicts one class only, or cannot be told from guessing."""
    return point.chance is not None or point.predicts_one_class


def setting_name(setting: Setting, section: Section) -> str:
    """Return a batch size, with its number of threads where the section has several of them: ``batch 32``."""
    batch, threads = setting
    several = len({cores for _, cores in section.settings}) > 1
    return f"batch {batch}" + (f" on {threads} thread{'s' * (threads != 1)}" if several else "")


def _ships_within(point: Point, max_drop_pp: float) -> bool:
    drop = drop_of_shipped(point)
    return drop is not None and drop.pp <= max_drop_pp


def _is_smaller(point: Point) -> bool:
    return point.deflated_ratio is None or point.deflated_ratio > 1.0


def _fastest(
    section: Section, setting: Setting, limits: dict[str, float], fits: set[int], wanted: Callable[[Point], bool]
) -> Fastest:
    at = replace(section, preferred=setting)
    question = Question(objective="latency", limits=limits, only_faster=True, eligible=lambda p: id(p) in fits)
    chosen = choose(at, question)
    anything = choose(at, replace(question, eligible=wanted))
    equals = _equals(chosen)
    timed = [timing for p in section.shown if (timing := p.timing(setting))]
    return Fastest(
        setting=setting,
        point=_least_lost(chosen, equals),
        equals=max(0, len(equals) - 1),
        beaten_by=_beaten_by(chosen, anything),
        unknown=bool(timed) and not any(timing.reference.is_trusted for timing in timed),
    )


def _equals(choice: Choice) -> list[Point]:
    """Return the best of a choice and all that cannot be told from it; of latency only those found FASTER."""
    first = choice.steps[0]
    if first.best is None:
        return []
    found = [first.best, *first.rivals]
    if not first.criterion.timed:
        return found
    timings = ((point, point.timing(choice.section.setting)) for point in found)
    return [point for point, timing in timings if timing and timing.reference.is_faster]


def _least_lost(choice: Choice, equals: Sequence[Point]) -> Point | None:
    order = {id(point): place for place, point in enumerate(choice.section.shown)}

    def loss_and_effort(point: Point) -> tuple[float, bool, bool, int]:
        lost = 0.0 if point.is_baseline else point.drop.pp if point.drop else float("inf")
        return lost, not point.dense, point.scheme != FP32, order[id(point)]

    return min(equals, key=loss_and_effort, default=None)


def _beaten_by(choice: Choice, anything: Choice) -> Point | None:
    """Return the best of all networks where it is better for sure than what may be named, and may not be named."""
    best, ours = anything.leader, {id(point) for point in choice.eligible}
    if best is None or id(best) in ours or is_exportable(best):
        return None
    rivals = {id(point) for point in anything.steps[0].rivals}
    return best if rivals.isdisjoint(map(id, _equals(choice))) else None
