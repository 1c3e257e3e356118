"""The run directory: ``runs/<name>/<stage>/<key>/`` with artifacts, and ``result.json`` written last.

A result is written to a temporary name, fsynced and renamed: it is there whole or not at all, and there is no lock to
be left behind. Several processes may write side by side; whoever renames last wins, with the same content.

Whatever is read from it is checked as it was when it was written (``sparsebench.store.sealing``). Records of earlier
versions have no digest. They are read where ``run.json`` has none either; the next start of the run gives all of them
one, and ``run.json`` last (``sparsebench.store.taking_over``).
"""

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal

from sparsebench.errors import LostError, StoreError, UnreadableRecordError
from sparsebench.store.disk import (
    MADE_ANEW,
    atomic_write,
    check_writable,
    clear_parts,
    clear_the_way,
    content_of,
    content_or_problem,
    disk,
    file_digest,
    inside,
    problem_of,
    replacing,
)
from sparsebench.store.limits import memory_given
from sparsebench.store.sealing import (
    DONE,
    VERSION,
    first_lines,
    not_believed,
    parsed,
    run_adapter,
    stage_adapter,
    unsealed,
    written,
)
from sparsebench.store.written import PARENTS, RunRecord, StageKind, StageRecord

RESULT = "result.json"
RUN = "run.json"
ASIDE = "aside"

Standing = Literal["done", "failed", "unreadable"]
"""Where a stage that was committed stands."""

_SHARE_OF_MEMORY = 0.5
"""What an artifact may take while it is read."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Store:
    """The records and artifacts of one run.

    Args:
        root: the run's directory, ``runs/<name>``; it is made with what is first written into it.
        writable: whether records will be written.

    Attributes:
        mixed: whether a record with a digest was read where ``run.json`` has none.

    Raises:
        StoreError: where the directory cannot be made or written to.
    """

    def __init__(self, root: Path, writable: bool = True) -> None:
        self.root = root
        self._root = os.fspath(root)
        self._older: bool | None = None
        self.mixed = False
        if writable:
            check_writable(root)

    @property
    def older(self) -> bool:
        """Whether ``run.json`` is of a time when records had no digests, so that others without one are read."""
        if self._older is None:
            raw = self.raw_run()
            self._older = raw is not None and unsealed(raw)[1] is None
        return self._older

    def directory(self, kind: StageKind, key: str) -> Path:
        """Return the directory of a stage; it may not exist yet.

        Raises:
            StoreError: where the key is no plain name.
        """
        return self.root / kind / _plain(key)

    def keys(self, kind: StageKind) -> frozenset[str]:
        """Return the keys of the stages of one kind that have a directory, committed or not."""
        folder = self.root / kind
        return frozenset(filter(_PLAIN.fullmatch, os.listdir(folder))) if folder.is_dir() else frozenset()

    def read(self, kind: StageKind, key: str) -> StageRecord | None:
        """Return the record of a stage, or None where it has not been committed.

        Raises:
            RecordSchemaError: where it was written under another schema version.
            UnreadableRecordError: where it is not believed: not as it was written, of another place, impossible.
            StoreError: where it cannot be read.
        """
        path = self._result(kind, key)
        raw = content_of(path)
        return None if raw is None else self._parsed(path, raw, kind, key)

    def believed(self, kind: StageKind, key: str) -> StageRecord | None:
        """Return the record of a stage, or None where it has not been committed or is not believed."""
        try:
            return self.read(kind, key)
        except UnreadableRecordError:
            return None

    def _parsed(self, path: str, raw: bytes, kind: StageKind, key: str) -> StageRecord:
        record = parsed(path, raw, stage_adapter(), digest_needed=not self.older)
        if (record.stage, record.key) != (kind, key):
            raise not_believed(path, f"it is the record of {record.stage} {record.key}")
        self.mixed |= self.older and unsealed(raw)[1] is not None
        return record

    def standing(self, kind: StageKind, key: str) -> Standing | None:
        """Return where a stage stands, None where it has not been committed.

        Of a record that is as it was written, its first lines tell that; to read thousands of them whole would take
        longer than to plan them. A stage whose record is not believed is as good as not done.

        Raises:
            RecordSchemaError: where it was written under another schema version.
            StoreError: where it cannot be read.
        """
        path = self._result(kind, key)
        try:
            raw = content_of(path)
            if raw is None:
                return None
            body, right = unsealed(raw)
            known = right or (right is None and self.older)
            if known and body.endswith(VERSION) and body.startswith(first_lines(kind, key)) and DONE in body:
                return "done"
            return self._parsed(path, raw, kind, key).status
        except UnreadableRecordError:
            return "unreadable"

    def standings(self, stages: Iterable[tuple[StageKind, str]]) -> dict[str, Standing]:
        """Return where each of many stages stands, by key; those that have not been committed are missing.

        Raises: as ``standing`` does.
        """
        # Looking for a file that is not there takes as long as planning it did.
        keys = cache(self.keys)
        found = {key: self.standing(kind, key) for kind, key in stages if key in keys(kind)}
        return {key: standing for key, standing in found.items() if standing}

    def write(self, record: StageRecord) -> None:
        """Commit a stage: its artifacts must have been written before.

        Raises:
            UnreadableRecordError: where the record could not be read back; nothing is written.
            StoreError: where it cannot be written.
        """
        raw = written(record)
        path = self.prepared(record.stage, record.key) / RESULT
        with disk("write", path.parent):
            clear_the_way(path)
            atomic_write(path, raw)

    def prepared(self, kind: StageKind, key: str) -> Path:
        """Return the directory of a stage, made where it is missing and without links in it, which lead elsewhere.

        Nor does it hold what killed processes left half-written.

        Raises:
            StoreError: where it cannot be made, or is itself reached through a link.
        """
        folder = self.directory(kind, key)
        with disk("write", folder):
            inside(self.root, folder).mkdir(parents=True, exist_ok=True)
            with os.scandir(folder) as entries:
                # To open a pipe takes for ever, and a link may lead anywhere.
                for entry in entries:
                    if not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
        clear_parts(folder)
        return folder

    def save_artifact(self, kind: StageKind, key: str, name: str, write: Callable[[Path], None]) -> str:
        """Let ``write`` make a file, move it into the stage's directory, and return its SHA-256."""
        folder = self.prepared(kind, key)
        with disk("write", folder), replacing(folder / _plain(name)) as temporary:
            write(temporary)
            return file_digest(temporary)

    def artifact(self, record: StageRecord, name: str) -> bytes:
        """Return the content of an artifact: the very bytes of which the digest was taken.

        Raises:
            LostError: where the file is missing or differs from what was recorded.
        """
        path = self.directory(record.stage, record.key) / _plain(name)
        content, problem = content_or_problem(path, record.artifacts.get(name), _SHARE_OF_MEMORY * memory_given())
        if content is None:
            text = f"{path} {problem}. {MADE_ANEW}"
            raise LostError(record.stage, record.key, f"{name} {problem}", text)
        return content

    def damage(self, record: StageRecord) -> str | None:
        """Return what is wrong with an artifact of a stage, None where all are as they were recorded."""
        folder = self.directory(record.stage, record.key)
        problems = ((name, problem_of(folder / _plain(name), digest)) for name, digest in record.artifacts.items())
        return next((f"{name} {problem}" for name, problem in problems if problem), None)

    def _result(self, kind: StageKind, key: str) -> str:
        # As text: there are tens of thousands of them, and a Path takes as long to make as a file to open.
        return f"{self._root}{os.sep}{kind}{os.sep}{_plain(key)}{os.sep}{RESULT}"

    def raw_run(self) -> bytes | None:
        """Return ``run.json`` as it stands there; None where there is no such file."""
        return _content(os.path.join(self._root, RUN))

    def raw(self, kind: StageKind, key: str) -> bytes | None:
        """Return the record of a stage as it stands there; None where there is no such file."""
        return _content(self._result(kind, key))

    def write_run(self, record: RunRecord) -> None:
        """Write what the run was asked for.

        Raises: as ``write`` does.
        """
        raw = written(record)
        with disk("write", self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            clear_the_way(self.root / RUN)
            atomic_write(self.root / RUN, raw)
        self._older = False

    def read_run(self) -> RunRecord:
        """Return what the run was asked for.

        Raises:
            StoreError: where there is no run.
            UnreadableRecordError: where its record is not believed.
            RecordSchemaError: where it was written under another schema version.
        """
        path = self.root / RUN
        raw = content_of(os.fspath(path))
        if raw is None:
            raise StoreError(
                f"{self.root} holds no run: there is no {RUN}. "
                "Give the directory that 'sparsebench run' wrote, for example runs/default."
            )
        return parsed(path, raw, run_adapter(), digest_needed=False)

    def read_run_if_any(self) -> RunRecord | None:
        """Return what the run was asked for, None where that was never written or is not believed."""
        try:
            return self.read_run() if os.path.lexists(self.root / RUN) else None
        except UnreadableRecordError:
            return None

    def takes_over(self) -> None:
        """Take note that all records have their digests from now on."""
        self._older = False

    def clear_parts(self) -> None:
        """Remove what killed processes left half-written in the directories of stages."""
        for kind in PARENTS:
            for key in self.keys(kind):
                clear_parts(self.root / kind / key)


def _content(path: str) -> bytes | None:
    with suppress(UnreadableRecordError):
        return content_of(path)
    return None


def _plain(name: str) -> str:
    if not _PLAIN.fullmatch(name):
        raise StoreError(f"{name[:100]!r} is no name in a run directory: letters, digits, '.', '_' and '-' make one.")
    return name
