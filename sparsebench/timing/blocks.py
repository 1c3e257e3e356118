"""Timing one block of calls."""

from collections.abc import Callable
from itertools import repeat

import numpy as np

from sparsebench.timing.schedule import BlockSize, Floats

Clock = Callable[[], int]
"""Returns nanoseconds that never run backwards."""

WARM_UP_CALLS = 3
"""At least this many calls come before the timed ones."""

SETTLED_CALLS = 8
"""A call's duration is the median of at most so many last calls of the warm-up: first calls are slow."""

SETTLED = 0.1
"""A warm-up goes on while its second half differs from its first by more than this share."""

LONGEST_WARM_UP = 6
"""It goes on for at most so many blocks."""


def warm_up(call: Callable[[], object], clock: Clock, block_ns: float) -> float:
    """Return one call's nanoseconds, after a first call and then at least ``block_ns`` and ``WARM_UP_CALLS`` of them.

    The first call may load or compile for long and says nothing about the next ones. Where the next ones are still
    getting faster or slower, as with a runtime that tunes itself or starts its threads, the warm-up goes on, up to
    ``LONGEST_WARM_UP`` blocks.
    """
    call()
    start = before = clock()
    taken: list[int] = []
    end = float(block_ns)
    while len(taken) < WARM_UP_CALLS or before - start < end:
        call()
        now = clock()
        taken.append(now - before)
        before = now
        if now - start >= end and _unsettled(taken) and end < LONGEST_WARM_UP * block_ns:
            end += block_ns
    return max(float(np.median(taken[-SETTLED_CALLS:])), 1.0)


def _unsettled(taken: list[int]) -> bool:
    """Whether the second half of a warm-up differs from its first; a few calls do not say."""
    half = len(taken) // 2
    if half < WARM_UP_CALLS:
        return False
    first, second = float(np.median(taken[:half])), float(np.median(taken[half:]))
    return abs(first - second) > SETTLED * second


def time_block(call: Callable[[], object], size: BlockSize, clock: Clock) -> Floats:
    """Return the nanoseconds of one call, for each unit of a block; shape (units,)."""
    taken = np.empty(size.units)
    for unit in range(size.units):
        start = clock()
        for _ in repeat(None, size.calls):
            call()
        taken[unit] = clock() - start
    return taken / size.calls
