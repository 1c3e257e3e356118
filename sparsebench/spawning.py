"""Processes of our own: how they are started, and how they ended."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without_main() -> Iterator[None]:
    """Keep a spawned process from running the script that started it, where it needs nothing of it.

    It would run it up to where it is now, and again, unless it has an ``if __name__ == "__main__":``.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def how_it_ended(code: int | None) -> str:
    """Return an exit code as ``multiprocessing`` gives it, negative for a signal, in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code}, {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}, unknown"
