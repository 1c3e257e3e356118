"""Timing one block of calls."""

from collections.abc import Callable
from itertools import repeat

import numpy as np

from sparsebench.timing.schedule import BlockSize
from sparsebench.timing.statistics import Floats

Clock = Callable[[], int]
"""Returns nanoseconds that never run backwards."""

WARM_UP_CALLS = 3
"""At least this many calls come before the timed ones."""

SETTLED_CALLS = 8
"""A call's duration is the median of at most so many last calls of the warm-up: first calls are slow."""


def warm_up(call: Callable[[], object], clock: Clock, block_ns: float) -> float:
    """Return one call's nanoseconds, after a first call and then at least ``block_ns`` and ``WARM_UP_CALLS`` of them.

    The first call may load or compile for long and says nothing about the next ones.
    """
    call()
    start = before = clock()
    taken: list[int] = []
    while len(taken) < WARM_UP_CALLS or before - start < block_ns:
        call()
        now = clock()
        taken.append(now - before)
        before = now
    return max(float(np.median(taken[-SETTLED_CALLS:])), 1.0)


def time_block(call: Callable[[], object], size: BlockSize, clock: Clock) -> Floats:
    """Return the nanoseconds of one call, for each unit of a block; shape (units,)."""
    taken = np.empty(size.units)
    for unit in range(size.units):
        start = clock()
        for _ in repeat(None, size.calls):
            call()
        taken[unit] = clock() - start
    return taken / size.calls
