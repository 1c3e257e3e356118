"""Which networks a report names: the smallest, and the fastest at each batch size.

``named`` is the one place where that is decided. Tables, figures, the three lines of an answer and the terminal all ask
it, so that another way to choose needs to be put here alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sparsebench.decide.answering import Answer, Proof, State, answer
from sparsebench.decide.choosing import Question, choose, default_limit, drop_reading
from sparsebench.points.latency import Setting
from sparsebench.points.points import Point, Section
from sparsebench.points.rows import identity
from sparsebench.wording.text import listing


@dataclass(frozen=True, kw_only=True)
class Fastest:
    """The answer for one batch size and number of threads.

    Attributes:
        setting: batch size and number of threads.
        found: the answer; it names nothing where no network was found FASTER.
        equals: how many others that may be named are as fast, as far as their intervals tell.
        beaten_by: a faster network that cannot be exported, None where there is none.
        unknown: whether nothing can be said because the timing of all of them is INVALID.
    """

    setting: Setting
    found: Answer
    equals: int = 0
    beaten_by: Point | None = None
    unknown: bool = False

    @property
    def point(self) -> Point | None:
        """The network that is named."""
        return self.found.point


@dataclass(frozen=True, kw_only=True)
class Named:
    """The networks that are named.

    Attributes:
        size: the answer for the smallest deflated file; it names nothing where none is smaller than dense fp32.
        smaller: a smaller network that cannot be exported, None where there is none.
        fastest: one answer for each batch size and number of threads, in the order of the section.
        candidates: how many networks it was chosen from.
    """

    size: Answer
    smaller: Point | None
    fastest: tuple[Fastest, ...]
    candidates: int

    @property
    def smallest(self) -> Point | None:
        """The network with the smallest deflated file."""
        return self.size.point

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The answers that name a network, each network once, the smallest first."""
        named: dict[int, Answer] = {}
        for found in (self.size, *(one.found for one in self.fastest)):
            if found.point is not None:
                named.setdefault(id(found.point), found)
        return tuple(named.values())

    @property
    def points(self) -> tuple[Point, ...]:
        """All networks that are named, each once, the smallest first."""
        return tuple(one.point for one in self.answers if one.point is not None)

    def proof(self, point: Point) -> Proof | None:
        """Return what the test set says of a network that is named."""
        return next((one.proof for one in self.answers if one.point is point), None)

    def is_open(self, point: Point) -> bool:
        """Whether a network that is named may break its limit."""
        proof = self.proof(point)
        return proof is None or proof.state is State.OPEN

    def roles(self, section: Section) -> dict[int, str]:
        """Return what each of them is named for, by the identity of the point: ``smallest, fastest``."""
        places: dict[int, list[str]] = {}
        for one in self.fastest:
            if one.point is not None:
                places.setdefault(id(one.point), []).append(setting_name(one.setting, section))
        roles = {id(self.smallest): "smallest"} if self.smallest is not None else {}
        for point, where in places.items():
            at = "" if len(where) == len(self.fastest) else f" at {listing(where)}"
            roles[point] = ", ".join(filter(None, (roles.get(point), f"fastest{at}")))
        return roles


@lru_cache(maxsize=32)
def named(section: Section, max_drop: float | None = None) -> Named:
    """Return the networks of a section that an answer names.

    A network may be named that can be exported, that predicts more than one class and better than by guessing, and
    whose very copy that would ship keeps the limit, as ``sparsebench.decide.answering`` has it. Of those that cannot be
    told apart it is the one that loses least, and of these the simplest.

    Args:
        section: where to look.
        max_drop: the largest drop, in its unit; the usual one where it is None.
    """
    limit = default_limit(section) if max_drop is None else max_drop
    reference = next(iter(section.backends), None)
    limits = {"drop": limit}

    def wanted(point: Point) -> bool:
        return not (point.is_baseline and point.backend == reference) and not is_useless(point)

    size = Question(
        objective="deflated_size", limits=limits, exportable_only=True, eligible=lambda p: wanted(p) and _is_smaller(p)
    )
    found = answer(section, size)
    candidates = [p for p in section.shown if wanted(p) and p.exports_to]
    return Named(
        size=found,
        smaller=_beaten_by(section, size, found),
        fastest=tuple(_fastest(section, setting, limits, wanted) for setting in section.settings),
        candidates=sum((lost := drop_reading(section, p)) is not None and lost.value <= limit for p in candidates),
    )


def answer_rows(section: Section) -> list[dict[str, Any]]:
    """Return each network that is named as plain values: for what, of which seed, and what the test set says of it."""
    found = named(section)
    roles = found.roles(section)
    rows = []
    for one in found.answers:
        point, proof = one.point, one.proof
        if point is None or point.ships is None:
            continue
        trial = point.ships.trial.trial
        told = proof and {
            "state": proof.state,
            f"drop{proof.scale.suffix}": proof.loss,
            f"low{proof.scale.suffix}": proof.low,
            f"high{proof.scale.suffix}": proof.high,
            f"limit{proof.scale.suffix}": proof.limit,
            "looks": proof.looks,
            "test_samples": proof.samples,
            "test_samples_needed": proof.samples_needed,
        }
        rows.append(
            {
                **identity(point),
                "role": roles[id(point)],
                "seed": trial.seed,
                "key": trial.evaluate,
                "chosen_on": section.chosen_on,
                **(told or {}),
            }
        )
    return rows


def is_useless(point: Point) -> bool:
    """Whether some seed predicts one class only, or cannot be told from guessing."""
    return point.chance is not None or point.predicts_one_class


def setting_name(setting: Setting, section: Section) -> str:
    """Return a batch size, with its number of threads where the section has several of them: ``batch 32``."""
    batch, threads = setting
    several = len({cores for _, cores in section.settings}) > 1
    return f"batch {batch}" + (f" on {threads} thread{'s' * (threads != 1)}" if several else "")


def _is_smaller(point: Point) -> bool:
    return point.deflated_ratio is None or point.deflated_ratio > 1.0


def _fastest(section: Section, setting: Setting, limits: dict[str, float], wanted: Callable[[Point], bool]) -> Fastest:
    at = replace(section, preferred=setting)
    question = Question(objective="latency", limits=limits, only_faster=True, exportable_only=True, eligible=wanted)
    found = answer(at, question)
    timed = [timing for p in section.shown if (timing := p.timing(setting))]
    return Fastest(
        setting=setting,
        found=found,
        equals=max(0, len(found.choice.equals) - 1),
        beaten_by=_beaten_by(at, question, found),
        unknown=bool(timed) and not any(timing.reference.is_trusted for timing in timed),
    )


def _beaten_by(section: Section, question: Question, found: Answer) -> Point | None:
    """Return the best of all networks where it is better for sure than what may be named, and cannot be exported."""
    anything = choose(section, replace(question, exportable_only=False))
    best = anything.leader
    if best is None or best.exports_to:
        return None
    rivals = {id(point) for point in anything.steps[0].rivals}
    return best if rivals.isdisjoint(map(id, found.choice.equals)) else None
