"""A witness of what a process does: files that it opens to write or removes, programs it starts, hosts it asks."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_PROGRAMS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen", "os.startfile")
_CHANGES = (
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *("os.chown", "os.utime", "shutil.rmtree", "shutil.move", "os.setxattr"),
)
_seen = None


def _note(event, arguments):
    if _seen is None:
        return
    if event in (*_PROGRAMS, "socket.connect", "ctypes.dlopen"):
        _seen.append((event, None, arguments))
    elif event in _CHANGES or (event == "open" and _writes(*arguments[1:])):
        _seen.append((event, arguments[0], arguments))


def _writes(mode, flags):
    return (flags or 0) & _WRITES or set(str(mode or "")) & set("wax+")


sys.addaudithook(_note)


@contextmanager
def nothing_done(*within):
    """Fail where anything is started, or anything outside of these folders is changed (PEP 578 tells)."""
    global _seen
    before, _seen = _seen, []
    try:
        yield
        found = [(event, arguments) for event, path, arguments in _seen if not _is_within(path, within)]
        assert not found, found
    finally:
        _seen = before


def _is_within(path, folders):
    if isinstance(path, int):  # A file that is open already.
        return True
    return path is not None and any(Path(os.fsdecode(path)).resolve().is_relative_to(folder) for folder in folders)
