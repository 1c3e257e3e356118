"""Writing a report: each file whole or not at all, and no figure of an earlier report left among the new ones."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sparsebench.errors import SparsebenchError
from sparsebench.store.disk import clear_parts, replacing


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
    for folder in {(out / name).parent for name in files}:
        folder.mkdir(parents=True, exist_ok=True)
        clear_parts(folder)
    for name, content in files.items():
        with replacing(out / name) as temporary:
            temporary.write_bytes(content)


PAGE_MARK = '<meta name="generator" content="sparsebench">'
"""Stands near the top of every page of ours, by which it is told from one of the user's."""

TEXT_MARK = "<!-- written by sparsebench report -->"
"""Stands at the end of every README of ours; nobody sees it who reads the text as it is shown."""

_OLD_MARK = "ask of a report, computed from the records."
"""Of a sentence that stands in every README of earlier versions."""


def marked(text: str) -> str:
    """Return the text of a README with the mark by which it is known."""
    return f"{text.rstrip()}\n\n{TEXT_MARK}\n"


def require_ours(out: Path, names: Iterable[str]) -> None:
    """Refuse to write over a README or a page that is not of a report of ours.

    Raises:
        SparsebenchError: where there is one among those that are to be written.
    """
    for name in names:
        path = out / name
        if (path.is_file() or path.is_symlink()) and not _is_ours(path):
            raise SparsebenchError(
                f"{path} was not written by sparsebench, and is not written over. Choose another folder for the "
                "report with --output, or move the file."
            )


def _is_ours(path: Path) -> bool:
    if not path.is_file():  # A link to what never ends, for one.
        return False
    if path.suffix == ".html":
        with path.open("rb") as file:
            return PAGE_MARK.encode() in file.read(2000)
    content = path.read_bytes()
    return not content or TEXT_MARK.encode() in content[-200:] or _OLD_MARK.encode() in content


def remove_page(path: Path) -> None:
    """Remove the page of an earlier report: the new one does not have its numbers. A page that is not ours stays."""
    if path.is_file() and _is_ours(path):
        path.unlink()


def remove_stale(figures: Path, kinds: Iterable[str], keep: Iterable[str]) -> None:
    """Remove figures of an earlier report: files named as this package names them, apart from those in ``keep``."""
    ours = re.compile(rf"(\d+-[a-z0-9-]+-)?({'|'.join(map(re.escape, kinds))})\.(svg|png)")
    kept = set(keep)
    for path in figures.iterdir() if figures.is_dir() else ():
        if path.is_file() and ours.fullmatch(path.name) and path.name not in kept:
            path.unlink()
