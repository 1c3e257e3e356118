"""What the system tells of the machine: what else goes on on it, which cores are idle, how much memory is left.

Whatever a system does not tell is None, or left out.
"""

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows has no such module.
    resource = None  # type: ignore[assignment]

_CPUS = Path("/sys/devices/system/cpu")
_LOOK_SECONDS = 0.1

CACHE_BYTES = 32 * 1024**2
"""Taken for the largest cache where the system does not tell."""

MOST_CACHE_BYTES = 256 * 1024**2
"""Caches of servers may be shared by many cores; one network does not fill more."""


@dataclass(frozen=True)
class Conditions:
    """The machine during one round.

    Attributes:
        load_1min: processes that ran or wanted to, averaged over the last minute.
        steal_share: share of all cores' time in the round that a hypervisor gave to others, in [0, 1].
        voluntary_switches: how often the timing process waited for something in the round.
        involuntary_switches: how often it was put aside for another process in the round.
        frequency_mhz: mean clock of the cores at the end of the round.
        throttle_events: how often a core slowed down for heat in the round.
        gpu_clock_mhz: clock of the GPU in use at the end of the round.
    """

    load_1min: float | None = None
    steal_share: float | None = None
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    frequency_mhz: float | None = None
    throttle_events: int | None = None
    gpu_clock_mhz: float | None = None


def counters() -> dict[str, int]:
    """Return what the system counts: stolen and all ticks, switches of this process, how often cores were throttled."""
    found: dict[str, int] = {}
    if ticks := _ticks().get("cpu"):
        found |= {"steal": ticks[7], "ticks": sum(ticks[:8])}  # Guest time behind them is part of user time already.
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found |= {"voluntary": usage.ru_nvcsw, "involuntary": usage.ru_nivcsw}
    if throttles := _of_all_cores("thermal_throttle/core_throttle_count"):
        found["throttles"] = sum(throttles)
    return found


def conditions_since(before: dict[str, int]) -> Conditions:
    """Return what went on since ``counters`` were read."""
    past = {name: now - before[name] for name, now in counters().items() if name in before}
    return Conditions(
        load_1min=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        steal_share=past["steal"] / past["ticks"] if past.get("ticks") else None,
        voluntary_switches=past.get("voluntary"),
        involuntary_switches=past.get("involuntary"),
        frequency_mhz=_frequency_mhz(),
        throttle_events=past.get("throttles"),
        gpu_clock_mhz=_gpu_clock_mhz(),
    )


class OtherWork:
    """Counts, from when it is made to when it is read, how busy others keep the machine.

    Own work is that of this process and of those that it has started and that have ended. What a hypervisor takes is
    no part of it.
    """

    def __init__(self) -> None:
        self._before, self._began = _seconds_of_others(), time.monotonic()

    def read(self) -> float | None:
        """Return how many cores others kept busy in the mean; None where the system does not tell."""
        now, seconds = _seconds_of_others(), time.monotonic() - self._began
        if self._before is None or now is None or seconds <= 0:
            return None
        return max(0.0, (now - self._before) / seconds)


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
    chosen: dict[str, int] = {}  # The first of each physical core.
    for core in by_load:
        chosen.setdefault(_text(_CPUS / f"cpu{core}/topology/thread_siblings_list") or str(core), core)
    others = [core for core in by_load if core not in chosen.values()]
    return tuple(sorted([*chosen.values(), *others][:threads]))


def available_bytes() -> float:
    """Return what can be used without swapping; infinite where the system does not tell."""
    return memory_bytes("/proc/meminfo").get("MemAvailable", float("inf"))


def largest_cache_bytes() -> int:
    """Return the size of the processor's largest cache; ``CACHE_BYTES`` where the system does not tell, or too much."""
    sizes = re.findall(r"^(\d+)K$", "\n".join(text.strip() for text in _cache_texts()), re.MULTILINE)
    return min(max((1024 * int(size) for size in sizes), default=CACHE_BYTES), MOST_CACHE_BYTES)


def _cache_texts() -> list[str]:
    return [_text(path) for path in _CPUS.glob("cpu0/cache/index*/size")]


def memory_bytes(file: str) -> dict[str, int]:
    """Return the fields of /proc/meminfo or /proc/self/status that are amounts of memory, in bytes."""
    found = re.findall(r"^(\w+):\s*(\d+) kB", _text(Path(file)), re.MULTILINE)
    return {field: int(kilobytes) * 1024 for field, kilobytes in found}


def _ticks() -> dict[str, list[int]]:
    """Return the ticks of all cores, "cpu", and of each, "cpu0" and so on, in the columns of /proc/stat (proc(5))."""
    lines = (line.split() for line in _text(Path("/proc/stat")).splitlines() if line.startswith("cpu"))
    return {name: list(map(int, ticks)) for name, *ticks in lines if len(ticks) >= 8}


def _busy_ticks() -> dict[int, int]:
    """Return, for each core, its ticks that were neither idle nor waiting for a disk."""
    return {int(name[3:]): sum(ticks) - sum(ticks[3:5]) for name, ticks in _ticks().items() if name != "cpu"}


def _seconds_of_others() -> float | None:
    """Return for how long all cores together were neither idle nor waiting nor stolen, less what was our own."""
    ticks, own = _ticks().get("cpu"), _own_seconds()
    if not ticks or own is None:
        return None
    return (sum(ticks[:7]) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK") - own


def _own_seconds() -> float | None:
    if resource is None:
        return None
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _of_all_cores(file: str) -> list[int]:
    texts = [_text(path) for path in _CPUS.glob(f"cpu[0-9]*/{file}")]
    return [int(text) for text in texts if text.strip().isdigit()]


def _frequency_mhz() -> float | None:
    found = [khz / 1000 for khz in _of_all_cores("cpufreq/scaling_cur_freq")]
    if not found:
        found = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _text(Path("/proc/cpuinfo")), re.M)]
    return sum(found) / len(found) if found else None


def _gpu_clock_mhz() -> float | None:
    """Return the clock of a GPU that this process uses; nothing is imported or started to find out."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    try:
        return float(torch.cuda.clock_rate())
    except Exception:  # Without nvidia-ml-py, or with a driver that does not tell: a figure less.
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
