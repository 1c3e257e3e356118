"""Archives of images, taken apart without trusting what is in them."""

import hashlib
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from sparsebench.data.listing import is_image
from sparsebench.errors import DataError
from sparsebench.wording.text import first_of

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
_NAMES_SHOWN = 3


def is_archive(path: Path) -> bool:
    """Whether a file is, by its name, an archive that can be taken apart."""
    return path.name.lower().endswith(SUFFIXES)


def extracted(archive: Path, cache: Path) -> Path:
    """Return the folder with the images of an archive, taking it apart unless that was done before.

    Args:
        archive: the file.
        cache: where the folder is made; it is named by the archive's name, size and time.

    Raises:
        DataError: where the archive cannot be read or written out, or has paths that lead out of it, or links; nothing
            is left of it then.
    """
    facts = archive.stat()
    identity = f"{archive.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}"
    folder = cache / f"{archive.name.split('.')[0]}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".extracting-", dir=cache))
    except OSError as error:
        raise DataError(
            f"{cache} cannot be written to: {error.strerror}. Choose another folder as cache_dir."
        ) from error
    try:
        _extract(archive, partial)
        try:
            partial.replace(folder)
        except OSError:
            if not folder.is_dir():  # Otherwise another process was faster.
                raise
    except _BROKEN as error:
        raise DataError(f"The archive {archive} cannot be read: {error or type(error).__name__}.") from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"The archive {archive} cannot be taken apart in {cache}: {reason}. Make room there."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _extract(archive: Path, folder: Path) -> None:
    refused = []
    members = _zip_members(archive) if archive.name.lower().endswith(".zip") else _tar_members(archive)
    for name, problem, content in members:
        problem = problem or _leads_out(name)
        if problem:
            refused.append(f"{name!r} ({problem})")
        elif content is not None and not refused and is_image(name):
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
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if posix.is_absolute() or windows.anchor:
        return "an absolute path"
    return "a path with '..'" if ".." in (*posix.parts, *windows.parts) else ""


def _tar_members(archive: Path) -> Iterator[tuple[str, str, IO[bytes] | None]]:
    with tarfile.open(archive) as tar:
        for member in tar:  # one pass, so that a compressed archive is read once
            if member.isfile():
                yield member.name, "", tar.extractfile(member)
            else:
                yield member.name, "" if member.isdir() else "a link or a device", None


def _zip_members(archive: Path) -> Iterator[tuple[str, str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                yield member.filename, "a link or a device", None
            elif member.is_dir():
                yield member.filename, "", None
            else:
                with file.open(member) as content:
                    # The name as it stands in the archive: filename is it with os.sep made '/'.
                    yield member.orig_filename.replace(os.sep, "/"), "", content
