"""On which cores a worker runs."""

import os
import time
from pathlib import Path

_LOOK_SECONDS = 0.1


def idlest_cores(threads: int) -> tuple[int, ...] | None:
    """Return ``threads`` cores for a process to stay on, those that were least busy during the last moment.

    Cores that share one physical core come last, for they would slow each other down. A worker looks anew in each
    generation, so that a core with a busy neighbour is not kept for a whole session.

    Returns:
        None where the system knows no affinity, or where every core is wanted anyway.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    if threads >= len(allowed):
        return None
    before = _busy_ticks()
    time.sleep(_LOOK_SECONDS)
    after = _busy_ticks()
    by_load = sorted(allowed, key=lambda core: (after.get(core, 0) - before.get(core, 0), core))
    first_of_its_kind: list[int] = []
    others: list[int] = []
    seen: set[str] = set()
    for core in by_load:
        siblings = _siblings(core)
        (others if siblings in seen else first_of_its_kind).append(core)
        seen.add(siblings)
    return tuple(sorted((first_of_its_kind + others)[:threads]))


def _busy_ticks() -> dict[int, int]:
    """Return, for each core, its ticks that were neither idle nor waiting for a disk (proc(5), /proc/stat)."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    cores = (line.split() for line in lines if line.startswith("cpu") and line[3].isdigit())
    return {
        int(name[3:]): sum(int(tick) for place, tick in enumerate(ticks) if place not in {3, 4})
        for name, *ticks in cores
    }


def _siblings(core: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(core)
