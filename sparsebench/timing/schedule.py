"""How a comparison is made: its settings, the order of the blocks of a round, and their lengths.

A round holds one block of every network, ``COPIES`` copies of the baseline among them. Blocks are short, for what the
machine does meanwhile changes slowly: in equal time, blocks four times as long tell copies apart half as well.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Clock = Callable[[], int]
"""Returns nanoseconds that never run backwards."""

BLOCK_MS = 5.0
"""A block lasts at least this long: a few calls of a small network, and a burst of other work hits few blocks."""

COPIES = 4
"""Copies of the baseline in every process and round, the baseline itself among them: their mean is what others are
compared with, and the others of them say what copy and copy differ by."""

HANG_SECONDS = 600.0
"""A worker that makes no step for so long hangs; to compile a large network may take minutes."""


Cache = Literal["hot", "cold"]


class Step(NamedTuple):
    """Where a comparison stands; processes and rounds count from 1.

    Attributes:
        process: number of the process that times; 0 while the first ones start.
        processes: how many are planned; more follow where their intervals are too wide and time is left.
        round: number of the round that begins.
        rounds: rounds of this process.
        seconds: how long the comparison takes at least, where that is longer than its cap; otherwise None. Where
            variants are timed in groups, as long as all of them take if all take as long as this one.
    """

    process: int
    processes: int
    round: int = 0
    rounds: int = 0
    seconds: float | None = None

    def __str__(self) -> str:
        """Return it as a display shows it."""
        if not self.process:
            return f"starting {self.processes} processes"
        return f"process {self.process} of {self.processes}, round {self.round} of {self.rounds}"

    def too_short(self, what: str, cap: str) -> str:
        """Return what a person is told where the session takes longer than its cap.

        Args:
            what: what is timed, and how many: "24 networks".
            cap: name and value of the cap: "measure.seconds_cap = 45".
        """
        seconds = f"{self.seconds or 0.0:.0f} s"
        return f"These {what} take at least {seconds} to time; {cap} is too short for that, and they take as long."


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of ``sparsebench.timing.compare`` that say how it times; see there.

    ``prepare`` is called in each worker before it builds its variants; it travels there as variants do.
    """

    threads: int = 1
    seconds_cap: float = 60.0
    precision: float = 0.006
    band: float = 0.01
    seed: int = 0
    block_ms: float = BLOCK_MS
    workers: bool | None = None
    group_size: int | None = None
    memory_limit_bytes: int | None = None
    hang_seconds: float = HANG_SECONDS
    cuda_graphs: bool = False
    footprint: bool = False
    cache: Cache = "hot"
    clock: Clock | None = None
    watch: Callable[["Step"], None] | None = None
    writes_to: str | None = None
    prepare: Callable[[], None] | None = None

    @property
    def now(self) -> Clock:
        """The clock that was given, or else that of the system."""
        return self.clock or time.perf_counter_ns

    @property
    def block_ns(self) -> float:
        """How long a block lasts at least."""
        return self.block_ms * 1e6

    def problems(self) -> list[str]:
        """Return a sentence for everything that is not possible."""
        found = [
            f"{name}={value} is not possible; it must be at least 1."
            for name, value in (("threads", self.threads), ("group_size", self.group_size))
            if value is not None and value < 1
        ]
        found += [
            f"{name}={share} is not possible; it is a fraction between 0 and 1, 0.01 for one percent."
            for name, share in (("precision", self.precision), ("band", self.band))
            if not 0 < share < 1
        ]
        found += [
            f"{name}={amount} is not possible; it must be a number of {unit} above 0."
            for name, amount, unit in (
                ("seconds_cap", self.seconds_cap, "seconds"),
                ("hang_seconds", self.hang_seconds, "seconds"),
                ("block_ms", self.block_ms, "milliseconds"),
            )
            if not 0 < amount < float("inf")
        ]
        if self.cache not in get_args(Cache):
            found.append(f"cache={self.cache!r} is not possible; it must be one of {', '.join(get_args(Cache))}.")
        return found


UNIT_NS = 100_000
"""Calls are timed together until they last this long, so that reading the clock (about 0.1 µs) does not count."""

SETTLING_NS = 1_500_000
"""So long a variant runs untimed before its block, or a block long where that is shorter."""


@dataclass(frozen=True)
class BlockSize:
    """How many calls make up a block, as foreseen.

    Attributes:
        units: how often the clock is read; on a CPU, more or less often where calls turn out faster or slower.
        calls: calls between two readings.
    """

    units: int
    calls: int


def block_size(call_ns: float, block_ns: float) -> BlockSize:
    """Return the fewest calls that last ``block_ns``, at least one.

    Args:
        call_ns: how long one call takes, above 0.
        block_ns: how long a block shall last at least.
    """
    calls = max(1, int(np.ceil(UNIT_NS / call_ns)))
    return BlockSize(units=max(1, int(np.ceil(block_ns / (call_ns * calls)))), calls=calls)


def settling_calls(call_ns: float, block_ns: float) -> int:
    """Return how many calls come before the timed ones of a block.

    They bring a variant's weights back into the caches, and let threads of the variant before, which some runtimes keep
    spinning for a while, go to sleep. They last ``SETTLING_NS``, and are one call at least; a block of one call does
    without, for that is long beside what a first call costs.
    """
    if block_ns <= call_ns:
        return 0
    return max(1, int(np.ceil(min(SETTLING_NS, block_ns) / call_ns)))


def draw_order(networks: int, random: np.random.Generator) -> NDArray[np.int_]:
    """Return the networks of one round, by their numbers, in their order in time: each once, the baseline too.

    The order is random, so that what a network leaves behind in caches and clocks, and where in the round a
    disturbance falls, hits all alike over the rounds.
    """
    return random.permutation(networks)
