"""How a comparison is made: its settings, the order of the blocks of a round, their pairs and their lengths.

A round holds one block of every variant and blocks of the baseline at its begin, at its end and in between, never more
than ``SEGMENT`` variants apart. With 20 variants and the control that is 21 + 5 blocks of 50 ms, 1.35 s a round with
what comes before each block; the first look comes after 18 rounds, 25 s. Starting three workers side by side on
two cores takes about 10 s and warming each up 2 s, so that 20 variants have their first verdicts after 48 s.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsebench.statistics.ratios import Floats

Clock = Callable[[], int]
"""Returns nanoseconds that never run backwards."""

BLOCK_MS = 50.0
"""A block lasts at least this long: a scheduler's time slice, a few milliseconds, is a small part of it."""

HANG_SECONDS = 600.0
"""A worker that makes no step for so long hangs; to compile a large network may take minutes."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of ``sparsebench.timing.compare`` that say how it times; see there."""

    threads: int = 1
    seconds_cap: float = 60.0
    precision: float = 0.01
    band: float = 0.01
    seed: int = 0
    block_ms: float = BLOCK_MS
    workers: bool | None = None
    group_size: int | None = None
    memory_limit_bytes: int | None = None
    hang_seconds: float = HANG_SECONDS
    cuda_graphs: bool = False
    footprint: bool = False
    clock: Clock | None = None

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
        return found


SEGMENT = 6
"""At most so many variants stand between two blocks of the baseline."""

BASELINE = 0
"""Number of the baseline in an order; the others count from 1."""

UNIT_NS = 100_000
"""Calls are timed together until they last this long, so that reading the clock (about 0.1 µs) does not count."""

SETTLING_SHARE = 0.04
"""Share of a block, two milliseconds of fifty, that a variant runs untimed before it."""

SETTLED_UNITS = 5
"""Calls that a block must have for one more of them, untimed, to be worth its time."""


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
    spinning for a while, go to sleep. They last ``SETTLING_SHARE`` of a block; calls of which a block has fewer than
    ``SETTLED_UNITS`` do without, for they are long beside what a first call costs.
    """
    if block_ns < SETTLED_UNITS * call_ns:
        return 0
    return max(1, int(np.ceil(SETTLING_SHARE * block_ns / call_ns)))


def segments(items: int) -> list[int]:
    """Return how many variants stand between one baseline block and the next; at least two gaps, as even as can be.

    Args:
        items: variants of a round, the control among them and the baseline not, at least 1.
    """
    count = max(2, -(-items // SEGMENT))
    return [items // count + (place < items % count) for place in range(count)]


def draw_order(items: int, random: np.random.Generator) -> NDArray[np.int_]:
    """Return the blocks of one round in their order in time: ``BASELINE`` or a variant's number from 1.

    The order of the variants is random, so that what a variant leaves behind in caches and clocks, and where in the
    round a disturbance falls, hits all alike over the rounds.
    """
    shuffled = iter(random.permutation(items) + 1)
    order = [BASELINE]
    for size in segments(items):
        order += [int(next(shuffled)) for _ in range(size)]
        order.append(BASELINE)
    return np.array(order)


def log_ratios(latencies: ArrayLike, order: ArrayLike) -> Floats:
    """Return each variant's log latency minus the baseline's before it, and minus the baseline's after it.

    Each of the two is a fair comparison of one block with one block: of two copies, either is the slower as often. The
    mean of both neighbours is not fair: it is hit by bursts of other work twice as often as the variant's block, which
    then looks faster. The median of both ratios over all rounds has a little less noise than that of the mean, too.

    Args:
        latencies: shape (…, blocks), in any unit, above 0.
        order: shape (…, blocks) or (blocks,), from ``draw_order``.

    Returns:
        Shape (…, items, 2), in the order of the variants' numbers.
    """
    logs = np.log(np.asarray(latencies, dtype=np.float64))
    numbers = np.broadcast_to(np.asarray(order), logs.shape)
    # The pattern of baselines is the same in every round.
    is_baseline = numbers.reshape(-1, logs.shape[-1])[0] == BASELINE
    places, slots = np.flatnonzero(is_baseline), np.flatnonzero(~is_baseline)
    after = np.searchsorted(places, slots)
    before_and_after = np.stack([logs[..., places[after - 1]], logs[..., places[after]]], axis=-1)
    paired = logs[..., slots, None] - before_and_after
    by_number: Floats = np.empty_like(paired)
    np.put_along_axis(by_number, numbers[..., slots, None] - 1, paired, axis=-2)
    return by_number
