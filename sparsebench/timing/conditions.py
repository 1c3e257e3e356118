"""What else went on on the machine while a round was timed; None where the system does not tell."""

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


class Watch:
    """Counts from when it is made to when it is read."""

    def __init__(self) -> None:
        self._ticks = _steal_and_total()
        self._switches = _switches()
        self._throttles = _throttles()

    def read(self) -> Conditions:
        """Return what went on since the watch was made."""
        voluntary, involuntary = _difference(self._switches, _switches())
        steal, total = _difference(self._ticks, _steal_and_total())
        (throttles,) = _difference(self._throttles, _throttles())
        return Conditions(
            load_1min=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            steal_share=steal / total if steal is not None and total else None,
            voluntary_switches=voluntary,
            involuntary_switches=involuntary,
            frequency_mhz=_frequency_mhz(),
            throttle_events=throttles,
            gpu_clock_mhz=_gpu_clock_mhz(),
        )


class OtherWork:
    """Counts, from when it is made to when it is read, how busy others keep the machine.

    Own work is that of this process and of those that it has started and that have ended. What a hypervisor takes is
    no part of it.
    """

    def __init__(self) -> None:
        self._busy, self._own, self._began = _busy_seconds(), _own_seconds(), time.monotonic()

    def read(self) -> float | None:
        """Return how many cores others kept busy in the mean; None where the system does not tell."""
        busy, own, seconds = _busy_seconds(), _own_seconds(), time.monotonic() - self._began
        if self._busy is None or busy is None or self._own is None or own is None or seconds <= 0:
            return None
        return max(0.0, ((busy - self._busy) - (own - self._own)) / seconds)


def _busy_seconds() -> float | None:
    """Return for how long all cores together did something, by the columns of proc(5), /proc/stat."""
    fields = _text(Path("/proc/stat")).split("\n", 1)[0].split()
    if len(fields) < 9:
        return None
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float | None:
    if resource is None:
        return None
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _difference(before: tuple[int | None, ...], after: tuple[int | None, ...]) -> list[int | None]:
    return [None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)]


def _steal_and_total() -> tuple[int | None, ...]:
    """Return stolen ticks and all ticks of all cores; the columns are those of proc(5), /proc/stat."""
    fields = _text(Path("/proc/stat")).split("\n", 1)[0].split()
    if len(fields) < 9:
        return None, None
    ticks = [int(field) for field in fields[1:9]]  # Guest time behind them is part of user time already.
    return ticks[7], sum(ticks)


def _switches() -> tuple[int | None, ...]:
    if resource is None:
        return None, None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw, usage.ru_nivcsw


def _throttles() -> tuple[int | None, ...]:
    counts = [_text(path) for path in _CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    found = [int(count) for count in counts if count.strip().isdigit()]
    return (sum(found) if found else None,)


def _frequency_mhz() -> float | None:
    khz = [_text(path) for path in _CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    found = [int(value) / 1000 for value in khz if value.strip().isdigit()]
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
