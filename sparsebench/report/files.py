"""Writing a report: each file whole or not at all, and no figure of an earlier report left among the new ones."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sparsebench.errors import SparsebenchError


@contextmanager
def explained(out: Path) -> Iterator[None]:
    """Turn an error of the file system into a sentence that says what to do.

    Raises:
        SparsebenchError: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise SparsebenchError(
            f"The report cannot be written to {out}: {error.strerror or error}. "
            "Name a folder that you may write to, on a disk with room."
        ) from error


def write_files(out: Path, files: Mapping[str, bytes]) -> None:
    """Write files below ``out``, each to a temporary name first; names are relative paths."""
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


PAGE_MARK = '<meta name="generator" content="sparsebench">'
"""Stands near the top of every page of ours, by which it is told from one of the user's."""


def remove_page(path: Path) -> None:
    """Remove the page of an earlier report: the new one does not have its numbers. A page that is not ours stays."""
    if path.is_file():
        with path.open("rb") as file:
            ours = PAGE_MARK.encode() in file.read(2000)
        if ours:
            path.unlink()


def remove_stale(figures: Path, kinds: Iterable[str], keep: Iterable[str]) -> None:
    """Remove figures of an earlier report: files named as this package names them, apart from those in ``keep``."""
    ours = re.compile(rf"(\d+-[a-z0-9-]+-)?({'|'.join(map(re.escape, kinds))})\.(svg|png)")
    kept = set(keep)
    for path in figures.iterdir() if figures.is_dir() else ():
        if path.is_file() and ours.fullmatch(path.name) and path.name not in kept:
            path.unlink()
