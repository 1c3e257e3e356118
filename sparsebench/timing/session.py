"""A session: processes that time rounds of the same networks until every interval is narrow enough, or time is up."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sparsebench.statistics.processes import (
    Estimate,
    Floats,
    noise_within,
    of_copies,
    over_processes,
    weights_of,
    within_process,
)
from sparsebench.timing.bench import Loaded, RoundSample, RoundTimer
from sparsebench.timing.schedule import COPIES, Settings, Step, draw_order

Starter = Callable[[int, int], AbstractContextManager[RoundTimer]]
"""Starts a process, whose number it is given, and how many may be made ready side by side from it on."""

Stopped = Literal["precise", "cap"]

PROCESSES = 6
"""Processes that time before the intervals are looked at."""

MOST_PROCESSES = 18
"""Processes of a session at most: from there on, Student's t has little left to gain."""

FEWEST_ROUNDS = 2
"""Rounds of a process where calls are so slow that more would not fit."""

MOST_ROUNDS = 128
"""Rounds of a process at most."""

TIMING_SHARE = 2.0
"""A process times so many times as long as it took to start, where time allows: rounds are cheap beside starts, but no
number of them does what another process does."""


@dataclass(frozen=True, kw_only=True)
class RoundRecord(RoundSample):
    """One complete round; blocks in their order in time.

    Attributes:
        group: which of the groups of variants that were timed one after another, from 0.
        generation: worker process, or restart of the loop, from 0 in each group.
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
        names: the baseline and its copies, ``COPIES`` in all, then the variants.
        group: its number among the groups of variants that are timed one after another.
        rounds: all rounds.
        latencies: for each process, the log latencies of its rounds, shape (rounds, networks) in the order of names.
        loaded: for each process, what it knew of the variants before it timed them.
        stopped: why it ended.
        seconds: how long it lasted.
        seconds_needed: how long it takes to have enough processes, where the cap was too short for them.
    """

    names: Sequence[str]
    group: int
    rounds: list[RoundRecord] = field(default_factory=list)
    latencies: list[list[Floats]] = field(default_factory=list)
    loaded: list[Sequence[Loaded]] = field(default_factory=list)
    stopped: Stopped = "cap"
    seconds: float = 0.0
    seconds_needed: float | None = None

    def log_speedups(self, references: Sequence[int] = range(COPIES)) -> Floats:
        """Return what each process says of each network beside the references, shape (networks, processes)."""
        return np.stack([within_process(np.stack(rounds), references) for rounds in self.latencies if rounds], axis=-1)

    def weights(self) -> Floats:
        """Return what each process counts for, shape (processes)."""
        return weights_of([noise_within(np.stack(rounds), range(COPIES)) for rounds in self.latencies if rounds])

    def estimates(self, networks: int, band: float) -> tuple[Estimate, Estimate]:
        """Return intervals of the baseline's copies, which hold together, and of the rest, with so many others."""
        logs, weights = self.log_speedups(), self.weights()
        return of_copies(logs[:COPIES], band, weights), over_processes(logs[COPIES:], networks, band, weights)

    def is_precise(self, networks: int, settings: Settings) -> bool:
        """Whether every interval, those of the controls too, reaches less than the precision to either side."""
        found = self.estimates(networks, settings.band)
        return all(bool(((one.high - one.low) / 2 < settings.precision).all()) for one in found)


def run_session(
    start: Starter,
    names: Sequence[str],
    settings: Settings,
    *,
    seconds_cap: float,
    networks: int,
    random: np.random.Generator,
    begin: int,
    group: int,
) -> Session:
    """Let processes time rounds until a look finds every interval narrow enough, or until the time is spent.

    Six processes come first. Where some interval is too wide then, as many more follow as the time that is left is
    enough for; their number depends on time alone, and not on what was measured, so that it costs the intervals
    nothing.

    Args:
        start: starts a process.
        names: the baseline's copies and the variants.
        settings: among them the clock, and how narrow intervals shall be.
        seconds_cap: how long it may last. Where six processes of ``FEWEST_ROUNDS`` rounds take longer, ``watch`` is
            told so before they time, and the session may last that long; fewer of them time where the machine gets
            slower still.
        networks: intervals that shall hold together.
        random: draws the order of each round.
        begin: when the session began; what was done for it since then counts.
        group: number written into the rounds.
    """
    session, now = Session(names, group), settings.now
    end = deadline = begin + seconds_cap * 1e9
    tell = settings.watch or _tell_nobody
    tell(Step(0, PROCESSES))
    planned, rounds, process, cost_ns, round_ns = PROCESSES, FEWEST_ROUNDS, 0, 0.0, 0.0
    while process < planned:
        asked = now()
        if process > 1 and asked + (cost_ns if process >= PROCESSES else 0) > deadline:
            break
        with start(process, planned - process) as timer:
            if process == 0:
                round_ns = sum(one.block_ns for one in timer.loaded)
                cost_ns = timer.ready_ns + timer.warm_up_ns
                unready = PROCESSES - 1 - timer.more_ready
                starts_ns = (PROCESSES - 1) * timer.warm_up_ns + unready * timer.ready_ns
                least_ns = now() - begin + starts_ns + PROCESSES * FEWEST_ROUNDS * round_ns
                if begin + least_ns > deadline:
                    deadline, session.seconds_needed = begin + _MARGIN * least_ns, least_ns / 1e9
                    tell(Step(0, PROCESSES, seconds=session.seconds_needed * settings.seconds_cap / seconds_cap))
                rounds = _rounds((end - now() - starts_ns) / PROCESSES, cost_ns, round_ns)
            fitting = rounds
            if process < PROCESSES:  # Where the machine has become slower, fewer rounds rather than fewer processes.
                left = PROCESSES - process
                share_ns = (end - now() - (left - 1) * timer.warm_up_ns) / left
                fitting = int(np.clip(share_ns // max(round_ns, 1.0), FEWEST_ROUNDS, rounds))
            elif now() + _ENOUGH * rounds * round_ns > deadline:
                break  # A process of few rounds has more noise than all others, and would widen every interval.
            session.loaded.append(timer.loaded)
            session.latencies.append([])
            for number in range(fitting):
                if (number or process > 1) and now() + round_ns > deadline + _GRACE * round_ns:
                    break
                tell(Step(process + 1, planned, number + 1, fitting))
                _time_round(session, timer, draw_order(len(names), random), process)
        process += 1
        if process == PROCESSES and not session.is_precise(networks, settings):
            more = min(int((end - now()) // (cost_ns + rounds * round_ns)), MOST_PROCESSES - PROCESSES)
            if more > 0:
                planned += more
                rounds = _rounds((end - now()) / more - cost_ns, np.inf, round_ns)
    enough = len([one for one in session.latencies if one]) >= PROCESSES
    session.stopped = "precise" if enough and session.is_precise(networks, settings) else "cap"
    session.seconds = (now() - begin) / 1e9
    return session


_MARGIN = 1.25
"""A session whose least is longer than its cap may last so many times that, for a machine that gets slower."""

_ENOUGH = 0.7
"""A further process times where at least so much of its rounds fits."""

_GRACE = 0.5
"""A round begins where at least so much of it fits."""


def _rounds(left_ns: float, cost_ns: float, round_ns: float) -> int:
    """Return how many rounds a process times.

    Args:
        left_ns: its share of the time that is left, without what it takes to start.
        cost_ns: what it takes to start.
        round_ns: how long a round lasts.
    """
    wanted = max(TIMING_SHARE * cost_ns, round_ns)
    return int(np.clip(min(left_ns, wanted) // max(round_ns, 1.0), FEWEST_ROUNDS, MOST_ROUNDS))


def _tell_nobody(step: Step) -> None:
    """Take no notice of where a session stands."""


def _time_round(session: Session, timer: RoundTimer, order: NDArray[np.int_], process: int) -> None:
    sample = timer.round(order)
    by_number = np.empty(len(order))
    by_number[order] = np.log(sample.latencies_ms)
    session.latencies[-1].append(by_number)
    names = tuple(session.names[number] for number in order)
    session.rounds.append(
        RoundRecord(**vars(sample), group=session.group, generation=process, order=names, cores=timer.cores)
    )
