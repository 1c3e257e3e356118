"""Exported files on their way to their place: all of them are moved there or none, also where the export is killed."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sparsebench.errors import SparsebenchError
from sparsebench.points.exportable import Format
from sparsebench.store.disk import atomic_write, content_of, disk, file_digest
from sparsebench.store.scratch import left_behind, scratch

CARD = ".md"

_MOVING = "moving.json"
"""Says, in the folder of an export, which files are being moved out of it, each with its SHA-256."""

_MOST_BYTES = 2**16


def require_free(path: Path, kind: Format, force: bool) -> None:
    """Check that an export can be written, after undoing what a killed one to the same path left half-done.

    Args:
        path: of the main file.
        kind: its format.
        force: whether files that exist are replaced.

    Raises:
        SparsebenchError: where the ending is wrong, there is no such folder, or files are there already.
    """
    if path.suffix != kind.suffix:
        raise SparsebenchError(
            f"{path} has the wrong ending for {kind.name}; it must be {kind.suffix}: "
            f"-o {path.with_suffix(kind.suffix)}."
        )
    if not path.parent.is_dir():
        raise SparsebenchError(f"There is no folder {path.parent}; make it first, or choose another with -o.")
    files = [path.with_suffix(ending) for ending in (kind.suffix, *kind.companions, CARD)]
    for folder in left_behind(path.parent, _begin(path)):
        _undo(folder, files)
    taken = [file for file in files if file.exists()]
    if taken and not force:
        names = ", ".join(map(str, taken))
        raise SparsebenchError(f"{names} already there; choose another path with -o, or replace with --force.")


@contextmanager
def written(path: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """Write files into a folder beside their place, from which they can be moved there; it goes in any case.

    Args:
        path: of the main file.
        files: contents by the ending of the file's name.
    """
    with disk("write", path, "Choose another path with -o."), scratch(path.parent, _begin(path)) as folder:
        for ending, data in files.items():
            (folder / path.with_suffix(ending).name).write_bytes(data)
        yield folder


def move(folder: Path, files: Sequence[Path]) -> None:
    """Move files out of a folder of ``written`` to their places; who is killed meanwhile leaves word of it."""
    told = {file.name: file_digest(folder / file.name) for file in files}
    atomic_write(folder / _MOVING, json.dumps(told).encode())
    for file in files:
        os.replace(folder / file.name, file)


def _begin(path: Path) -> str:
    return f".{path.stem}."


def _undo(folder: Path, files: Sequence[Path]) -> None:
    """Remove what was moved out of a folder of which something is left in it; a file that is another by now stays."""
    try:
        told = json.loads(content_of(os.fspath(folder / _MOVING), _MOST_BYTES) or b"{}")
        moving = {file: told[file.name] for file in files if file.name in told}
    except (SparsebenchError, ValueError, TypeError, RecursionError):  # None of ours.
        return
    moved = [file for file in moving if not (folder / file.name).exists()]
    for file in moved if len(moved) < len(moving) else ():
        if file.is_file() and not file.is_symlink() and file_digest(file) == moving[file]:
            file.unlink()
