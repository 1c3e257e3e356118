"""A report that would be written again with the same bytes is left alone.

Nothing here imports what figures are drawn with, so that a finished run that is started again ends at once.
"""

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter

from sparsebench.errors import UnreadableRecordError
from sparsebench.report.files import explained
from sparsebench.store.disk import atomic_write, clear_the_way, content_of, disk
from sparsebench.store.environment import versions_of
from sparsebench.store.records import Run

SEAL = "report.sha256"
"""File of the run directory: the digest of what its report was made from and of the files that this made."""

SOURCE = Path(__file__).parents[1]

_MADE_WITH = ("sparsebench", "matplotlib", "numpy", "pillow", "scipy", "tabulate")
_ENDINGS = {".csv", ".html", ".json", ".md", ".png", ".svg"}


def renew_report(run: Run, out: Path, root: Path) -> Path:
    """Write a report as ``write_report`` does, unless the folder has the very files that it would write.

    That it has them is told by the seal in the run directory, a digest of the records, this package's source, the
    versions of the packages that reports are made with, and all files of the report as they are now. Where anything
    of it differs, or something is missing or was added, the report is written and sealed anew.

    Args:
        run: the records.
        out: the folder of the report, whose README.md is returned.
        root: the run directory.

    Raises:
        SparsebenchError: where ``write_report`` does, or the seal cannot be written.
    """
    seal, readme = root / SEAL, out / "README.md"
    made_from = _made_from(run)
    if _content(seal) == _sealed(made_from, out) and readme.is_file():
        return readme
    from sparsebench.report.write import write_report

    write_report(run, out)
    with disk("write", seal):
        clear_the_way(seal)
        atomic_write(seal, _sealed(made_from, out))
    return readme


def _content(seal: Path) -> bytes | None:
    with suppress(UnreadableRecordError):  # What is no plain file is no seal of ours.
        return content_of(os.fspath(seal), most=100)
    return None


def _made_from(run: Run) -> bytes:
    versions = {"python": platform.python_version(), **versions_of(_MADE_WITH)}
    source = (path for path in SOURCE.rglob("*") if path.suffix in {".py", ".css", ".js"})
    return _digest([repr(versions).encode(), TypeAdapter(Run).dump_json(run), *_files(SOURCE, source)])


def _sealed(made_from: bytes, out: Path) -> bytes:
    with explained(out):
        report = (path for folder in (out, out / "figures") for path in folder.glob("*") if path.suffix in _ENDINGS)
        return _digest([made_from, *_files(out, report)]).hex().encode()


def _files(folder: Path, paths: Iterator[Path]) -> Iterator[bytes]:
    """Yield the place and the content of each file."""
    for path in sorted(paths):
        if path.is_file():
            yield path.relative_to(folder).as_posix().encode()
            yield path.read_bytes()


def _digest(parts: list[bytes]) -> bytes:
    """Return the SHA-256 of parts, whose borders count."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
