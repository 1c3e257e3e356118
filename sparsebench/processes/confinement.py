"""Processes that can write to one folder only, and reach no network, where the system offers that.

Linux does, from 5.13 on, by Landlock (landlock(7)); elsewhere, and where a container forbids it, nothing is confined.
What confines itself can never undo it, and all that it starts is confined from its first instruction on. So a process
is started by a thread that confines itself and then ends: this process stays free.
"""

import ctypes
import os
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from sparsebench.processes import safe_path

Result = TypeVar("Result")

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls, which have these numbers on every processor that matters here."""

_VERSION_ASKED, _BENEATH_A_PATH, _NO_NEW_PRIVILEGES = 1, 1, 38

_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
"""Folders, files, links, pipes, sockets and devices."""

_BIND_AND_CONNECT = 0b11
_SOCKETS_AND_SIGNALS = 0b11


def is_offered() -> bool:
    """Whether this system confines processes; tried out once, in a thread that ends at once."""
    return sys.platform == "linux" and _works()


@contextmanager
def _temporary_files_in(folder: os.PathLike[str] | str) -> Iterator[None]:
    """Let processes that are started meanwhile have their temporary files where they can write.

    Some libraries ask for such a folder when they are imported; dill does, and torch imports dill where it is there.
    """
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = os.fspath(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def start_confined(start: Callable[[], Result], folder: os.PathLike[str] | str) -> Result:
    """Start a process that can write below ``folder`` only; freely where that is not offered.

    What it has open already, such as its output, is left to it.

    Args:
        start: starts the process, as ``Process.start`` does.
        folder: an existing one.

    Returns:
        What ``start`` returns.

    Raises:
        OSError: where the folder cannot be opened.
    """
    # It would be started with the first process, and has to remove what others leave behind.
    with safe_path():
        resource_tracker.ensure_running()
    if not is_offered():
        return start()

    def confined() -> Result:
        _confine_this_thread(Path(folder))
        return start()

    with _temporary_files_in(folder):
        return _in_a_thread(confined)


@cache
def _works() -> bool:
    try:
        _in_a_thread(lambda: _confine_this_thread(Path(tempfile.gettempdir())))
    except OSError:
        return False
    return True


def _in_a_thread(do: Callable[[], Result]) -> Result:
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(do())
        except BaseException as error:  # It belongs to whoever waits.
            errors.append(error)

    thread = threading.Thread(target=run, name="confined")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _confine_this_thread(folder: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    version = _call(libc, _CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_ASKED))
    rights = _WRITE_FILE | _REMOVE_AND_MAKE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    words = [rights]
    if version >= 4:
        words.append(_BIND_AND_CONNECT)
    if version >= 6:
        words.append(_SOCKETS_AND_SIGNALS)
    asked = struct.pack(f"={len(words)}Q", *words)
    rules = _call(libc, _CREATE_RULESET, asked, ctypes.c_size_t(len(asked)), ctypes.c_uint32(0))
    try:
        _allow(libc, rules, folder, rights)
        # Whoever throws output away writes to it.
        _allow(libc, rules, Path(os.devnull), rights & (_WRITE_FILE | _TRUNCATE))
        if libc.prctl(_NO_NEW_PRIVILEGES, *(ctypes.c_ulong(number) for number in (1, 0, 0, 0))):
            raise _error()
        _call(libc, _RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)


def _allow(libc: Any, rules: int, path: Path, rights: int) -> None:
    below = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, below)
        _call(libc, _ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_BENEATH_A_PATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(below)


def _call(libc: Any, number: int, *arguments: object) -> int:
    libc.syscall.restype = ctypes.c_long
    found = int(libc.syscall(ctypes.c_long(number), *arguments))
    if found < 0:
        raise _error()
    return found


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
