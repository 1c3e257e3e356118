"""A session: generations of rounds until every interval is narrow enough, or the time is spent."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sparsebench.statistics.ratios import Floats, is_precise, median_interval
from sparsebench.timing.bench import Loaded, RoundSample, RoundTimer
from sparsebench.timing.schedule import Settings, draw_order, log_ratios

# Starts a generation, whose number it is given.
Start = Callable[[int], AbstractContextManager[RoundTimer]]

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


@dataclass(frozen=True, kw_only=True)
class RoundRecord(RoundSample):
    """One complete round; blocks in their order in time.

    Attributes:
        group: which of the groups of variants that were timed one after another, from 0.
        generation: worker, or restart of the loop, from 0 in each group.
        order: the variants' names.
        cores: cores the worker stayed on; None where it might run anywhere.
    """

    group: int
    generation: int
    order: tuple[str, ...]
    cores: tuple[int, ...] | None


@dataclass
class Session:
    """What a session has timed so far.

    Attributes:
        names: the baseline, then the variants in their numbers' order.
        group: its number among the groups of variants that are timed one after another.
        rounds: all rounds.
        ratios: for each round, the log ratios of each variant, shape (variants, 2).
        loaded: what the first generation knew of the variants.
        stopped: why it ended.
        seconds: how long it lasted.
    """

    names: Sequence[str]
    group: int
    rounds: list[RoundRecord] = field(default_factory=list)
    ratios: list[Floats] = field(default_factory=list)
    loaded: Sequence[Loaded] = ()
    stopped: Stopped = "cap"
    seconds: float = 0.0

    @property
    def generations(self) -> list[int]:
        """The generation of each round."""
        return [one.generation for one in self.rounds]

    def log_ratios(self) -> Floats:
        """Return the log ratios to the baseline before and after, shape (variants, rounds, 2)."""
        return np.stack(self.ratios, axis=1)

    def is_precise(self, precision: float) -> bool:
        """Whether every interval reaches less than ``precision`` to either side."""
        return bool(is_precise(median_interval(self.log_ratios(), self.generations), precision))


def run_session(
    start: Start,
    names: Sequence[str],
    settings: Settings,
    *,
    seconds_cap: float,
    decisive: int,
    random: np.random.Generator,
    begin: int,
    group: int,
) -> Session:
    """Time generations of rounds until a look finds every interval narrow enough, or until the time is spent.

    Args:
        start: starts a generation.
        names: the baseline and the variants.
        settings: among them the clock, and how narrow intervals shall be.
        seconds_cap: about how long it may last. Three generations of three rounds are timed in any case, for fewer
            give no interval; and up to ``MOST_OVER_CAP`` times as long for as many rounds as verdicts take.
        decisive: rounds that verdicts take.
        random: draws the order of each round.
        begin: when the session began; what was done for it since then counts.
        group: number written into the rounds.
    """
    session, now, items = Session(names, group), settings.now, len(names) - 1
    prepared_ns, deadline = now() - begin, begin + seconds_cap * 1e9
    rounds, reserve = ROUNDS, 0.0
    for generation in range(LOOKS[-1]):
        must = generation < LOOKS[0]
        if not must and now() + reserve > deadline:
            break
        began = now()
        with start(generation) as timer:
            start_ns = now() - began
            block_ns = np.array([one.block_ns for one in timer.loaded])
            round_ns = float(block_ns[draw_order(items, random)].sum())
            if generation == 0:
                session.loaded = timer.loaded
                left_ns = (deadline - began) / LOOKS[0] - start_ns
                rounds = _rounds_that_fit(left_ns, prepared_ns / LOOKS[0] + start_ns, round_ns, seconds_cap, decisive)
            # What was prepared for the first generations has to be done again for each of the later ones.
            reserve = prepared_ns + start_ns + FEWEST_ROUNDS * round_ns
            for _ in range(rounds):
                if not must and now() + round_ns > deadline:
                    break
                _time_round(session, timer, draw_order(items, random), generation)
        if generation + 1 in LOOKS[:-1]:
            if session.is_precise(settings.precision):
                break
            # As many as take the time that is left. That depends on time alone, and not on what was measured, so that
            # it costs the intervals nothing.
            share_ns = (deadline - now()) / (LOOKS[-1] - generation - 1)
            rounds = int(np.clip((share_ns - start_ns) // round_ns, rounds, MOST_LATER_ROUNDS))
    session.stopped = "precise" if session.is_precise(settings.precision) else "cap"
    session.seconds = (now() - begin) / 1e9
    return session


def _rounds_that_fit(left_ns: float, cost_ns: float, round_ns: float, seconds_cap: float, decisive: int) -> int:
    """Return how many rounds a generation has, so that those before the first look end before the cap.

    Args:
        left_ns: a generation's share of the time that is left, without its start.
        cost_ns: what a generation costs before it times.
        round_ns: how long a round lasts.
        seconds_cap: about how long the session may last.
        decisive: rounds that verdicts take.
    """
    wanted = np.clip(cost_ns // round_ns, ROUNDS, MOST_ROUNDS)
    fitting = int(np.clip(left_ns // round_ns, FEWEST_ROUNDS, wanted))
    more_ns = (MOST_OVER_CAP - 1) * seconds_cap * 1e9 / LOOKS[0]
    return max(fitting, min(-(-decisive // LOOKS[0]), int((left_ns + more_ns) // round_ns)))


def _time_round(session: Session, timer: RoundTimer, order: np.ndarray, generation: int) -> None:
    sample = timer.round(order)
    session.ratios.append(log_ratios(sample.latencies_ms, order))
    names = tuple(session.names[number] for number in order)
    session.rounds.append(
        RoundRecord(**vars(sample), group=session.group, generation=generation, order=names, cores=timer.cores)
    )
