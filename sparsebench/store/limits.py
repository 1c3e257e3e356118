"""What this process may use of its machine: cores and memory, less what a container or a scheduler holds back."""

import os
from collections.abc import Iterator
from pathlib import Path

from sparsebench.store.environment import available_cores

_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_MOST_THREADS_ANYWHERE, _MOST_THREADS_A_CORE = 64, 8
_NO_LIMIT = 2**60
"""The first version of control groups writes no limit as a number of bytes beyond any machine."""


def cores_given() -> float:
    """Return how many cores this process may keep busy: those it may run on, or fewer where a quota says so."""
    quotas = [quota for folder in _folders("cpu") if (quota := _quota(folder))]
    return min([float(available_cores()), *quotas])


def most_threads() -> int:
    """Return how many threads inside one operation can be asked for: more than a machine has cores, within reason."""
    return max(_MOST_THREADS_ANYWHERE, _MOST_THREADS_A_CORE * available_cores())


def memory_given() -> float:
    """Return how many bytes of memory this process may use; infinite where the system does not tell."""
    limits = [number for folder in _folders("memory") if (number := _memory_limit(folder))]
    return min([_physical(), *limits])


def _folders(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of all above it, of both versions (cgroups(7))."""
    for line in _text(_OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _GROUPS / controller if controllers else _GROUPS
        group = root / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))


def _quota(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split() or [
        _text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
    ]
    if len(words) != 2 or not all(word.isdigit() for word in words) or not int(words[1]):
        return None  # "max", or -1
    return int(words[0]) / int(words[1]) or None


def _memory_limit(folder: Path) -> float | None:
    text = (_text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")).strip()
    return float(text) if text.isdigit() and 0 < int(text) < _NO_LIMIT else None


def _physical() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) or float("inf")
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
