"""Folders for a while: they go in the end, and where their process was killed before, with the next one that is made.

A folder is locked by its process. The system lets go of the lock when the process ends, however it ends.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from sparsebench.store.disk import fcntl

_BEGIN, _END = "sparsebench-", ".part"
_DRAWN = 8
"""Characters that ``tempfile`` draws for a name."""


@contextmanager
def scratch(parent: Path | None = None, begin: str = _BEGIN) -> Iterator[Path]:
    """Give out an empty folder of this user's own, and remove it in the end.

    Args:
        parent: where it lies, such as beside a file that will be moved out of it; the system's folder for temporary
            files where None.
        begin: how its name begins. What killed processes left under such a name goes first.

    Raises:
        OSError: where it cannot be made.
    """
    if parent is None:
        parent = Path(tempfile.gettempdir())
        _clear_once(parent, os.getpid())
    else:
        clear_scratch(parent, begin)
    folder, handle = _made(parent, begin)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def clear_scratch(parent: Path, begin: str) -> None:
    """Remove the folders that killed processes left behind; those that are in use stay."""
    for _ in left_behind(parent, begin):
        pass


def left_behind(parent: Path, begin: str) -> Iterator[Path]:
    """Yield each folder that a killed process left behind, and remove it thereafter."""
    if fcntl is None:  # Without locks nobody can tell.
        return
    with suppress(OSError), os.scandir(parent) as entries:
        found = [entry.name for entry in entries if _is_one(entry.name, begin) and entry.is_dir(follow_symlinks=False)]
        for name in found:
            with suppress(OSError):
                handle = os.open(parent / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(handle).st_uid == os.getuid():
                        yield parent / name
                        shutil.rmtree(parent / name, ignore_errors=True)
                finally:
                    os.close(handle)


@cache
def _clear_once(parent: Path, _process: int) -> None:
    # The system's folder may hold many thousands of names, too many to go through each time.
    clear_scratch(parent, _BEGIN)


def _is_one(name: str, begin: str) -> bool:
    return name.startswith(begin) and name.endswith(_END) and len(name) >= len(begin) + _DRAWN + len(_END)


def _made(parent: Path, begin: str) -> tuple[Path, int | None]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=begin, suffix=_END, dir=parent))
        if fcntl is None:
            return folder, None
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # A file system without locks for folders.
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Before it was locked, another process may have taken it for one that was left behind.
        if folder.is_dir():
            return folder, handle
        os.close(handle)
