"""Running one call: warming it up, the memory that it takes, and one timed block."""

import os
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import numpy as np

from sparsebench.processes import give_back
from sparsebench.statistics.ratios import Floats
from sparsebench.timing.machine import memory_bytes
from sparsebench.timing.schedule import BlockSize
from sparsebench.timing.settings import Clock

WARM_UP_CALLS = 3
"""At least this many calls come before the timed ones."""

SETTLED_CALLS = 8
"""A call's duration is the median of at most so many last calls of the warm-up: first calls are slow."""

SETTLED = 0.1
"""A warm-up goes on while its second half differs from its first by more than this share."""

LONGEST_WARM_UP = 6
"""It goes on for at most so many blocks."""

MOST_UNITS = 8
"""A block has at most so many times the units that the warm-up foresaw, should the clock stand still."""

_RESET = Path("/proc/self/clear_refs")


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


def peak_bytes(call: Callable[[], object]) -> int | None:
    """Return how much memory running something that is loaded, and was never called, takes at its peak.

    It is called a few times. The peak of the process's anonymous resident memory during all calls but the first, which
    may compile, less what it was before the first, is returned: activations, scratch memory, and what a runtime keeps
    for its later calls; not the weights as they were loaded. Memory that networks share, such as scratch memory that
    torch keeps, counts with the first that needs it.

    Returns:
        Bytes; None where the system does not tell.
    """
    give_back()  # So that using it again is seen.
    before = memory_bytes("/proc/self/status")
    if not ({"RssAnon", "RssFile", "RssShmem", "VmHWM"} <= before.keys() and os.access(_RESET, os.W_OK)):
        return None
    call()
    try:
        _RESET.write_text("5", encoding="ascii")  # Sets the peak to what is resident now (proc(5)).
    except OSError:
        return None
    for _ in range(WARM_UP_CALLS):
        call()
    after = memory_bytes("/proc/self/status")
    # The system keeps the peak of all resident memory; pages of files and shared ones only grow during the calls.
    return max(0, after["VmHWM"] - after["RssFile"] - after["RssShmem"] - before["RssAnon"])


def time_block(call: Callable[[], object], size: BlockSize, clock: Clock, block_ns: float) -> Floats:
    """Return the nanoseconds of one call, for each unit of a block; shape (units,).

    The block goes on until it has lasted ``block_ns``, and not for a number of calls that a warm-up foresaw: one that
    falls into a burst of other work foresees half as many. The median of two calls is spread otherwise than that of
    four, so that of two copies of a network the one with more calls would look faster beside such bursts.

    Args:
        call: what is timed.
        size: how many calls are timed together; and how many units are foreseen, ``MOST_UNITS`` times which end the
            block in any case.
        clock: returns nanoseconds.
        block_ns: how long the block shall last.
    """
    taken: list[int] = []
    begin = clock()
    while True:
        start = clock()
        for _ in repeat(None, size.calls):
            call()
        now = clock()
        taken.append(now - start)
        if now - begin >= block_ns or len(taken) >= MOST_UNITS * size.units:
            return np.array(taken, dtype=np.float64) / size.calls
