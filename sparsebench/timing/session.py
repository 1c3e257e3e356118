"""A session: generations of rounds until every interval is narrow enough, or the time is spent."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sparsebench.statistics.paired_ratios import Floats, is_precise, median_interval
from sparsebench.timing.bench import Loaded, RoundTimer
from sparsebench.timing.blocks import Clock
from sparsebench.timing.conditions import Conditions
from sparsebench.timing.schedule import draw_order, log_ratios

Stopped = Literal["precise", "cap"]

LOOKS = (3, 6)
"""The intervals are looked at after so many generations, and when the time is spent."""

ROUNDS = 8
"""Rounds of a generation, or more of few and short blocks, so that it times for as long as it took to start."""

MOST_ROUNDS = 16
"""Rounds of a generation at most, up to the first look."""

MOST_LATER_ROUNDS = 48
"""Rounds of a generation at most after it, where intervals are known to be too wide."""

MOST_OVER_CAP = 2.0
"""A session may last so many times its cap, where it would otherwise end without enough rounds for verdicts."""

FEWEST_ROUNDS = 3
"""Rounds of a generation where calls are so slow that more would not fit."""


@dataclass(frozen=True)
class Plan:
    """How long a session goes on.

    Attributes:
        seconds_cap: about how long it may last. Three generations of three rounds are timed in any case, for fewer
            give no interval; and up to ``MOST_OVER_CAP`` times as long for as many rounds as verdicts take.
        precision: it stops at a look at which all intervals reach less than this to either side.
        looks: numbers of generations after which it looks, rising; the last ends it.
        rounds: rounds of a generation; more where they are short.
        decisive: rounds that verdicts take.
    """

    seconds_cap: float = 60.0
    precision: float = 0.01
    looks: Sequence[int] = LOOKS
    rounds: int = ROUNDS
    decisive: int = 0


@dataclass(frozen=True)
class RoundRecord:
    """One complete round; blocks in their order in time.

    Attributes:
        group: which of the groups of variants that were timed one after another, from 0.
        generation: worker, or restart of the loop, from 0 in each group.
        order: the variants' names.
        latencies_ms: median latency of the calls of each block.
        calls_ms: the latencies behind it; where calls are very short, each is the mean of several calls.
        conditions: the machine during the round.
        cores: cores the worker stayed on; None where it might run anywhere.
    """

    group: int
    generation: int
    order: tuple[str, ...]
    latencies_ms: tuple[float, ...]
    calls_ms: tuple[Floats, ...]
    conditions: Conditions
    cores: tuple[int, ...] | None


@dataclass
class Session:
    """What a session has timed so far.

    Attributes:
        names: the baseline, then the variants in their numbers' order.
        rounds: all rounds.
        ratios: for each round, the log ratios of each variant, shape (variants, 2).
        generations: for each round, its generation.
        loaded: what the first generation knew of the variants.
        group: its number among the groups of variants that are timed one after another.
        stopped: why it ended.
        seconds: how long it lasted.
    """

    names: Sequence[str]
    group: int = 0
    rounds: list[RoundRecord] = field(default_factory=list)
    ratios: list[Floats] = field(default_factory=list)
    generations: list[int] = field(default_factory=list)
    loaded: Loaded = field(default_factory=lambda: Loaded((), (), ()))
    stopped: Stopped = "cap"
    seconds: float = 0.0

    def log_ratios(self) -> Floats:
        """Return the log ratios to the baseline before and after, shape (variants, rounds, 2)."""
        return np.stack(self.ratios, axis=1)

    def is_precise(self, precision: float) -> bool:
        """Whether every interval reaches less than ``precision`` to either side."""
        return bool(is_precise(median_interval(self.log_ratios(), self.generations), precision))


def run_session(
    start: Callable[[int], AbstractContextManager[RoundTimer]],
    names: Sequence[str],
    plan: Plan,
    *,
    random: np.random.Generator,
    clock: Clock,
    begin: int | None = None,
    group: int = 0,
) -> Session:
    """Time generations of rounds until a look finds every interval narrow enough, or until the time is spent.

    Args:
        start: starts a generation, whose number it is given.
        names: the baseline and the variants.
        plan: how long to go on.
        random: draws the order of each round.
        clock: returns nanoseconds.
        begin: when the session began, where something was done for it before; that time counts.
        group: number written into the rounds.
    """
    session, now, items = Session(names, group), clock(), len(names) - 1
    begin = now if begin is None else begin
    prepared_ns, deadline = now - begin, begin + plan.seconds_cap * 1e9
    least_generations, rounds, reserve = plan.looks[0], plan.rounds, 0.0
    for generation in range(plan.looks[-1]):
        must = generation < least_generations
        if not must and clock() + reserve > deadline:
            break
        began = clock()
        with start(generation) as timer:
            ready = clock()
            round_ns = _round_ns(timer.loaded.block_ns, draw_order(items, random))
            if generation == 0:
                session.loaded = timer.loaded
                share_ns, start_ns = (deadline - began) / least_generations, ready - began
                cost_ns = prepared_ns / least_generations + start_ns
                rounds = _rounds_that_fit(plan, share_ns - start_ns, cost_ns, round_ns)
            # What was prepared for the first generations has to be done again for each of the later ones.
            reserve = prepared_ns + ready - began + FEWEST_ROUNDS * round_ns
            for _ in range(rounds):
                if not must and clock() + round_ns > deadline:
                    break
                _time_round(session, timer, draw_order(items, random), generation, group)
        if generation + 1 in plan.looks[:-1]:
            if session.is_precise(plan.precision):
                break
            rounds = _later_rounds(deadline - clock(), plan.looks[-1] - generation - 1, ready - began, round_ns, rounds)
    session.stopped = "precise" if session.is_precise(plan.precision) else "cap"
    session.seconds = (clock() - begin) / 1e9
    return session


def _round_ns(block_ns: Sequence[float], order: np.ndarray) -> float:
    return float(np.asarray(block_ns)[order].sum())


def _rounds_that_fit(plan: Plan, left_ns: float, cost_ns: float, round_ns: float) -> int:
    """Return how many rounds a generation has, so that those before the first look end before the cap.

    Args:
        plan: how long the session goes on.
        left_ns: a generation's share of the time that is left, without its start.
        cost_ns: what a generation costs before it times.
        round_ns: how long a round lasts.
    """
    wanted = np.clip(cost_ns // round_ns, plan.rounds, plan.rounds * MOST_ROUNDS // ROUNDS)
    fitting = int(np.clip(left_ns // round_ns, min(FEWEST_ROUNDS, plan.rounds), wanted))
    generations = plan.looks[0]
    more_ns = (MOST_OVER_CAP - 1) * plan.seconds_cap * 1e9 / generations
    return max(fitting, min(-(-plan.decisive // generations), int((left_ns + more_ns) // round_ns)))


def _later_rounds(left_ns: float, generations: int, start_ns: float, round_ns: float, rounds: int) -> int:
    """Return how many rounds each of the generations after a look has, so that they take the time that is left.

    It depends on time alone, and not on what was measured, so that it costs the intervals nothing.

    Args:
        left_ns: time until the cap.
        generations: how many are to come.
        start_ns: how long one takes to start.
        round_ns: how long a round lasts.
        rounds: rounds of a generation before the look; there are not fewer of them after it.
    """
    return int(np.clip((left_ns / generations - start_ns) // round_ns, rounds, MOST_LATER_ROUNDS))


def _time_round(session: Session, timer: RoundTimer, order: np.ndarray, generation: int, group: int) -> None:
    sample = timer.round(order)
    session.ratios.append(log_ratios(sample.latencies_ms, order))
    session.generations.append(generation)
    session.rounds.append(
        RoundRecord(
            group=group,
            generation=generation,
            order=tuple(session.names[number] for number in order),
            latencies_ms=sample.latencies_ms,
            calls_ms=sample.calls_ms,
            conditions=sample.conditions,
            cores=getattr(timer, "cores", None),
        )
    )
