"""Files on a disk: written whole or not at all, known by their digest, and errors with their remedy."""

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsebench.errors import StoreError

_REMEDY = "Free some space or mend its permissions; start again, and the run continues."

_FULL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)}

_OS_ERROR = re.compile(r"(?:os error |Os \{ code: )(\d+)")
"""How libraries written in Rust, safetensors among them, tell of an error of the operating system."""


@contextmanager
def disk(doing: str, path: Path, remedy: str = "") -> Iterator[None]:
    """Turn an error of the operating system into a sentence with its remedy.

    Raises:
        StoreError: in place of an OSError, and of what libraries in other languages make of one.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(f"Cannot {doing} {path}: {error.strerror or error}. {remedy or _REMEDY}") from error
    except Exception as error:
        told = _OS_ERROR.search(str(error))
        if told is None:
            raise
        raise StoreError(f"Cannot {doing} {path}: {os.strerror(int(told[1]))}. {remedy or _REMEDY}") from error


def raise_if_full(error: Exception, root: Path) -> None:
    """Stop a run whose disk is full, wherever in a stage that was found: all stages to come would fail by it.

    Raises:
        StoreError: where ``error`` says so.
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f"{error.filename}, in a stage of {root}" if error.filename else f"files of a stage of {root}"
        raise StoreError(f"Cannot write {where}: {error.strerror}. {_REMEDY}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give out a temporary file that takes the place of ``path`` in the end; it goes where an error comes before."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if os.name == "posix":
        # Makes the rename durable; only POSIX systems can sync a folder.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_of(path: str) -> bytes | None:
    """Return the content of a file, None where it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}. Mend its permissions or its disk.") from error


def problem_of(path: Path, digest: str | None) -> str | None:
    """Return what is wrong with a file that should have this SHA-256, as a sentence goes on after its name."""
    try:
        same = file_digest(path) == digest
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if same else "is not what was recorded: its SHA-256 differs"
