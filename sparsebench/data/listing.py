"""The images in a folder or an archive: which are for training and testing, and of which class each is.

Archives are taken apart without trusting what is in them.
"""

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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from sparsebench.errors import DataError
from sparsebench.wording.text import first_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
_NAMES_SHOWN = 3

_SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Listing:
    """Image files below ``root``, sorted, of ``train``, and of ``val`` and ``test`` where these have folders.

    ``classes`` are the names of the class folders, sorted; a label is an index into them.
    """

    root: Path
    classes: tuple[str, ...]
    files: dict[str, list[Path]]
    labels: dict[str, list[int]]


def is_image(name: str) -> bool:
    """Whether a file is an image by its name; hidden files, which some archives are full of, are not."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.rpartition("/")[2].startswith(".")


def list_images(root: Path) -> Listing:
    """Return the images below a folder.

    The folder holds one folder a class, or folders ``train``, ``val`` and ``test`` which hold these; it may lie in
    other folders that hold nothing else.

    Raises:
        DataError: where no class folders with images are found, or a split has classes that training lacks.
    """
    root = _descend(root)
    folders = {_SPLIT_FOLDERS[folder.name.lower()]: folder for folder in _folders(root) if _is_split(folder)}
    if folders and "train" not in folders:
        raise DataError(f"{root} has a folder for {', '.join(folders)} and none for train; name one of them 'train'.")
    parts = folders or {"train": root}
    found = {split: {folder.name: _images(folder) for folder in _folders(parts[split])} for split in sorted(parts)}
    problems = [
        f"the class folder {parts[split] / name} holds no images"
        for split, classes in found.items()
        for name, files in classes.items()
        if not files
    ]
    classes = tuple(sorted(found["train"]))
    for split, own in found.items():
        if strange := sorted(set(own) - set(classes)):
            problems.append(f"{split} has the classes {', '.join(strange)}, which train lacks")
    if len(classes) < 2:
        problems.append(f"{parts['train']} has {len(classes)} class folders; at least 2 are needed")
    if problems:
        raise DataError(f"The image folder {root} cannot be used: {'; '.join(problems)}.")
    return Listing(
        root,
        classes,
        {split: [file for name in sorted(own) for file in own[name]] for split, own in found.items()},
        {split: [classes.index(name) for name in sorted(own) for _ in own[name]] for split, own in found.items()},
    )


def _descend(root: Path) -> Path:
    """Return the first folder on the way down that does not just hold another one."""
    while True:
        inner = _folders(root)
        if len(inner) != 1 or _is_split(inner[0]) or _images(root, deep=False) or not _folders(inner[0]):
            return root  # A single class is no wrapper.
        root = inner[0]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))


def _is_split(folder: Path) -> bool:
    return folder.name.lower() in _SPLIT_FOLDERS


def _images(folder: Path, deep: bool = True) -> list[Path]:
    return sorted(path for path in folder.glob("**/*" if deep else "*") if is_image(path.name) and path.is_file())


def extracted(archive: Path, cache: Path) -> Path:
    """Return the folder with the images of an archive, taking it apart unless that was done before.

    It is made in ``cache``, and named by the archive's name, size and time.

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
        raise DataError(
            f"The archive {archive} cannot be taken apart in {cache}: {error.strerror or error}. Make room there."
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
