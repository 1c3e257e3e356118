"""Files on a disk: written whole or not at all, known by their digest, and errors with their remedy."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sparsebench.errors import StoreError, UnreadableRecordError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no such module.
    fcntl = None

_REMEDY = "Free some space or mend its permissions; start again, and the run continues."

_FULL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)}

_OS_ERROR = re.compile(r"(?:os error |Os \{ code: )(\d+)")
"""How libraries written in Rust, safetensors among them, tell of an error of the operating system."""

_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")
"""Names under which files are written before they take their place."""

_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

MOST_BYTES = 2**28
"""No record is larger."""

MADE_ANEW = "Start the run again: it makes what is damaged anew."


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
    """Give out a temporary file that takes the place of ``path`` in the end; it goes where an error comes before.

    It has the mode that the umask leaves to new files. Who is killed meanwhile leaves it behind, for ``clear_parts``.
    """
    temporary, handle = _part_of(path)
    try:
        if fcntl is None:  # Where there are no locks, a file that is open cannot be replaced.
            os.close(handle)
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if fcntl is not None:
            os.close(handle)


def _part_of(path: Path) -> tuple[Path, int]:
    """Make a new file beside ``path``, locked by this process as long as it is open."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        with suppress(FileExistsError):
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            if fcntl is None:
                return temporary, handle
            with suppress(OSError):  # A file system without locks.
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Before it was locked, another process may have taken it for one that was left behind.
            if os.fstat(handle).st_nlink:
                return temporary, handle
            os.close(handle)


@contextmanager
def marked(folder: Path, name: str) -> Iterator[None]:
    """Keep an empty file in a folder for a while; who is killed meanwhile leaves it behind, for ``clear_parts``.

    Raises:
        OSError: where it cannot be made.
    """
    temporary, handle = _part_of(folder / name)
    try:
        yield
    finally:
        if fcntl is None:  # Where there are no locks, a file that is open cannot be removed.
            os.close(handle)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(handle)


def clear_parts(folder: Path) -> list[str]:
    """Remove temporary files that killed processes left in a folder; those that are being written stay.

    A lock tells which they are. The system lets go of it when its process ends, however it ends.

    Returns:
        Their names.
    """
    removed: list[str] = []
    if fcntl is None:
        return removed
    with suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if _PART.fullmatch(entry.name)]:
            with suppress(OSError):
                handle = os.open(folder / name, os.O_RDWR | _WITHOUT_WAITING)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    (folder / name).unlink()
                    removed.append(name)
                finally:
                    os.close(handle)
    return removed


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


def inside(root: Path, path: Path) -> Path:
    """Return a path below ``root``, unless a link on the way to it leads elsewhere.

    Raises:
        StoreError: where one does.
    """
    if os.path.realpath(path) != os.path.join(os.path.realpath(root), os.path.relpath(path, root)):
        raise StoreError(
            f"{path} is reached through a link that leads elsewhere, and nothing is written there. Remove the link."
        )
    return path


def clear_the_way(path: Path) -> None:
    """Remove a folder that stands where a file is to be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def check_writable(root: Path) -> None:
    """Check that a run directory can be written, or made where it is missing, without making it.

    Raises:
        StoreError: otherwise.
    """
    there = next(folder for folder in (root, *root.absolute().parents) if os.path.lexists(folder))
    with (
        disk("write run directory", root, "Choose another place with --runs-dir, or mend its permissions."),
        tempfile.TemporaryFile(dir=there),
    ):
        pass


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_of(path: str, most: int = MOST_BYTES) -> bytes | None:
    """Return the content of a plain file, None where it is not there.

    Raises:
        UnreadableRecordError: where it is a link, a folder or a pipe, or has more than ``most`` bytes.
        StoreError: where the disk or its permissions do not let it be read.
    """
    try:
        with _open_plain(path) as file:
            content = bytes(file.read(most + 1))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except _NotPlainError as error:
        raise UnreadableRecordError(f"{path} is {error.strerror}. {MADE_ANEW}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}. Mend its permissions or its disk.") from error
    if len(content) > most:
        raise UnreadableRecordError(f"{path} has more than {most / 2**20:,.0f} MiB, as no record has. {MADE_ANEW}")
    return content


def content_and_change(path: Path, most: int) -> tuple[bytes, int]:
    """Return the content of a plain file, its first ``most`` bytes, and its time of change in nanoseconds.

    Raises:
        OSError: where it cannot be read, or is a link, a folder or a pipe.
    """
    with _open_plain(os.fspath(path)) as file:
        return bytes(file.read(most)), os.fstat(file.fileno()).st_mtime_ns


class _NotPlainError(OSError):
    pass


def _open_plain(path: str) -> Any:
    """Open a plain file to read it; whoever opens a pipe waits for ever, and a link may lead anywhere."""
    try:
        handle = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            what = "a link to elsewhere, no file" if error.errno == errno.ELOOP else "no plain file"
            raise _NotPlainError(error.errno, what, path) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _NotPlainError(errno.EINVAL, "no plain file", path)
    return os.fdopen(handle, "rb")


def problem_of(path: Path, digest: str | None) -> str | None:
    """Return what is wrong with a file that should have this SHA-256, as a sentence goes on after its name."""
    return _looked_at(path, digest, lambda file: (None, hashlib.file_digest(file, "sha256").hexdigest()))[1]


def content_or_problem(path: Path, digest: str | None, most: float) -> tuple[bytes | None, str | None]:
    """Return the content of a file that should have this SHA-256, read once; or None, and what is wrong with it.

    Args:
        path: of the file.
        digest: as 64 hex digits.
        most: bytes that are read.
    """

    def read(file: Any) -> tuple[bytes, str]:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"it takes {size / 1e9:,.3g} GB, and at most {most / 1e9:,.3g} GB are read here")
        content = bytes(file.read(size + 1))
        return content, hashlib.sha256(content).hexdigest()

    return _looked_at(path, digest, read)


def _looked_at(path: Path, digest: str | None, read: Callable[[Any], tuple[Any, str]]) -> tuple[Any, str | None]:
    try:
        with _open_plain(os.fspath(path)) as file:
            found, there = read(file)
    except FileNotFoundError:
        return None, "is missing"
    except _NotPlainError as error:
        return None, f"is {error.strerror}"
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    return (found, None) if there == digest else (None, "is not what was recorded: its SHA-256 differs")
