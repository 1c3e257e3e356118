"""Processes of our own: how they are started, how they ended, and whether they keep memory that was freed."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

_IMPORTED_ONCE = (
    "sparsebench.runner.stages",
    "torch._dynamo",
    "torch.ao.quantization.quantize_fx",
    "sklearn.datasets",
    "sparsebench.runner.executors.frozen",
)
"""What nearly every worker needs and what takes seconds to import; the first step of any of torch's optimizers imports
dynamo. None of it asks for a GPU, and the only threads that it starts are those of OpenBLAS, which sees to forks
itself. What cannot be imported is left out. The last is to find all others there."""

_SAFE_PATH = "PYTHONSAFEPATH"

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""

_MOST = 2**30
_ADAPTED_MMAP, _ADAPTED_TRIM = 32 * 2**20, 64 * 2**20
"""To what glibc raises both by itself, once blocks that large were freed."""

IS_QUICK = sys.platform == "linux"
"""Whether processes are forked from one that has imported what all of them need, and does nothing else.

That is what Python itself does there from 3.14 on. Elsewhere each of them starts from nothing. In neither are they a
copy of this process, whose threads and locks would be in an unknown state: everything is done anew but the imports."""


@cache
def _context() -> Any:  # What contexts have in common is typed without their processes.
    context = multiprocessing.get_context("forkserver" if IS_QUICK else "spawn")
    if IS_QUICK:
        context.set_forkserver_preload(list(_IMPORTED_ONCE))
    return context


def get_ready() -> None:
    """Begin to import, beside this process, what all processes will need; only for those that are forked."""
    from multiprocessing import forkserver

    _context()
    with safe_path(), _interrupts_kept_from_children():
        forkserver.ensure_running()


def pipe() -> "tuple[Connection[Any, Any], Connection[Any, Any]]":
    """Return both ends of a channel, one of which can be an argument of ``start``."""
    ours, theirs = _context().Pipe()
    return ours, theirs


def start(main: Callable[..., None], *arguments: object, name: str) -> BaseProcess:
    """Start a process that calls ``main``, in the environment of this one; a forked one waits for the imports."""
    started: BaseProcess = _context().Process(
        target=_in_environment, args=(dict(os.environ), main, *arguments), name=name
    )
    with without_main(), safe_path(), _interrupts_kept_from_children():
        started.start()
    return started


def _in_environment(environment: dict[str, str], main: Callable[..., None], *arguments: object) -> None:
    """Call the main function of a process; the one that it was forked from may have an older environment."""
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)
    main(*arguments)


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Keep an interrupt in the terminal from processes that are just starting; this one gets it a moment later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # It is started with the first process, and would unblock the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def safe_path() -> Iterator[None]:
    """Keep files of the current folder from standing in for modules in a process that is started.

    Python looks there first until it has been told where this process looks: a ``signal.py`` beside a file that is
    opened would run.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


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
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
