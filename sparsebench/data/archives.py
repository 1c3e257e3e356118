"""Archives of images, taken apart without trusting what is in them."""

import hashlib
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from sparsebench.data.listing import is_image
from sparsebench.data.unpacking import TooLargeError, unpacked
from sparsebench.errors import DataError
from sparsebench.store.scratch import scratch
from sparsebench.wording.text import first_of

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")

_NAMES_SHOWN = 3
_SHARE_OF_DISK = 0.9
_MANIFEST = ".sparsebench"


def extracted(archive: Path, cache: Path) -> Path:
    """Return the folder with the images of an archive, taking it apart unless that was done before.

    It is made in ``cache``, and named by the archive's name, size and time; where the names, sizes or times of what is
    in it are not as they were, it is made anew.

    Raises:
        DataError: where the archive cannot be read or written out, is larger than the disk, or has paths that lead out
            of it, or links; nothing is left of it then.
    """
    facts = archive.stat()
    identity = os.fsencode(archive.resolve()) + f"\0{facts.st_size}\0{facts.st_mtime_ns}".encode()
    folder = cache / f"{archive.name.split('.')[0]}-{hashlib.sha256(identity).hexdigest()[:16]}"
    if folder.is_dir():
        if _is_as_it_was(folder):
            return folder
        shutil.rmtree(folder, ignore_errors=True)  # Somebody has changed it.
    with ExitStack() as stack:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            partial = stack.enter_context(scratch(cache, ".extracting-"))
        except OSError as error:
            raise DataError(
                f"{cache} cannot be written to: {error.strerror}. Choose another folder as cache_dir."
            ) from error
        _take_apart(archive, cache, partial, folder)
    return folder


def _take_apart(archive: Path, cache: Path, partial: Path, folder: Path) -> None:
    """Take an archive apart in a folder for a while, which then becomes that of its images."""
    try:
        _extract(archive, partial)
        (partial / _MANIFEST).write_text(_state_of(partial), encoding="utf-8")
        try:
            partial.replace(folder)
        except OSError:
            if not folder.is_dir():  # Otherwise another process was faster.
                raise
    except DataError:
        raise
    except TooLargeError as error:
        raise DataError(
            f"The archive {archive} {error}, more than there is room for in {cache}. Make room there, or choose "
            "another folder as cache_dir."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise DataError(
                f"The archive {archive} cannot be taken apart in {cache}: {error.strerror or error}. Make room there."
            ) from error
        # Those who take archives apart raise what their decoders raise.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"The archive {archive} cannot be read: {reason}.") from error


def _extract(archive: Path, folder: Path) -> None:
    refused = []
    room, needed = _SHARE_OF_DISK * shutil.disk_usage(folder).free, 0
    most_files, files = _most_files(folder), 0
    members = _zip_members(archive) if archive.name.lower().endswith(".zip") else _tar_members(archive, room)
    for name, size, problem, content in members:
        problem = problem or _leads_out(name)
        if problem:
            refused.append(f"{name!r} ({problem})")
        elif content is not None and not refused and is_image(name):
            needed, files = needed + size, files + 1
            if needed > room or files > most_files:
                what = f"{room / 1e9:.3g} GB" if needed > room else f"{most_files:,} files"
                raise DataError(
                    f"The images in the archive {archive} take more than {what} unpacked, more than there "
                    f"is room for in {folder.parent}. Make room there, or choose another folder as cache_dir."
                )
            target = folder.joinpath(*PurePosixPath(name).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(content, file)
    if refused:
        raise DataError(
            f"The archive {archive} is not safe to take apart and was refused: {first_of(refused, _NAMES_SHOWN)}. "
            "Pack it again with plain files and relative paths only."
        )


def _leads_out(name: str) -> str:
    """Return why a member's path must not be followed, empty where it may."""
    if "\0" in name:
        return "a name with a zero byte"
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if posix.is_absolute() or windows.anchor:
        return "an absolute path"
    return "a path with '..'" if ".." in (*posix.parts, *windows.parts) else ""


def _most_files(folder: Path) -> float:
    """Return how many files there is room for."""
    try:
        return int(_SHARE_OF_DISK * os.statvfs(folder).f_favail) or float("inf")
    except (AttributeError, OSError):
        return float("inf")


def _tar_members(archive: Path, room: float) -> Iterator[tuple[str, int, str, IO[bytes] | None]]:
    # What is skipped is unpacked too.
    with (
        unpacked(archive, max(room, archive.stat().st_size)) as content,
        tarfile.open(fileobj=content, mode="r:") as tar,
    ):
        for member in tar:  # one pass, so that a compressed archive is read once
            if member.isfile():
                yield member.name, member.size, "", tar.extractfile(member)
            else:
                yield member.name, 0, "" if member.isdir() else "a link or a device", None


def _zip_members(archive: Path) -> Iterator[tuple[str, int, str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                yield member.filename, 0, "a link or a device", None
            elif member.is_dir():
                yield member.filename, 0, "", None
            else:
                with file.open(member) as content:
                    # The name as it stands in the archive: filename is it with os.sep made '/'.
                    yield member.orig_filename.replace(os.sep, "/"), member.file_size, "", content


def _is_as_it_was(folder: Path) -> bool:
    try:
        return (folder / _MANIFEST).read_text(encoding="utf-8") == _state_of(folder)
    except OSError:
        return False


def _state_of(folder: Path) -> str:
    """Return the SHA-256 of names, sizes and times of what is in a folder."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST):
        facts = file.stat()
        digest.update(os.fsencode(file.relative_to(folder)) + f"\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()
