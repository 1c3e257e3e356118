"""What the C library does with memory that was freed; only glibc lets itself be told."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""

_MOST = 2**30
_ADAPTED_MMAP, _ADAPTED_TRIM = 32 * 2**20, 64 * 2**20
"""To what glibc raises both by itself, once blocks that large were freed."""


@contextmanager
def keeping_freed() -> Iterator[None]:
    """Keep memory that is freed in the process, for what is allocated next.

    Each training step allocates what the step before has freed. Left alone, glibc returns much of it to the system, and
    every page is then fetched and cleared anew. The setting is that of the whole process; in the end all that is free
    goes back, and glibc has the thresholds that it would have come to.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        yield
        return
    mallopt(_MMAP_THRESHOLD, _MOST)
    mallopt(_TRIM_THRESHOLD, _MOST)
    try:
        yield
    finally:
        mallopt(_MMAP_THRESHOLD, _ADAPTED_MMAP)
        mallopt(_TRIM_THRESHOLD, _ADAPTED_TRIM)
        give_back()


def give_back() -> None:
    """Return freed memory to the system."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """Return a function of the C library, or None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
