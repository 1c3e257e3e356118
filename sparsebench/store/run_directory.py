"""The run directory: ``runs/<name>/<stage>/<key>/`` with artifacts, and ``result.json`` written last.

A result is written to a temporary name, fsynced and renamed: it is there whole or not at all, and there is no lock to
be left behind. Several processes may write side by side; whoever renames last wins, with the same content. Each start
that found work to do is noted as an empty file of its own, named by its time, for the same reason.
"""

import gc
import json
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from sparsebench.errors import LostError, RecordSchemaError, StoreError, UnreadableRecordError
from sparsebench.store.disk import atomic_write, content_of, disk, file_digest, problem_of, replacing
from sparsebench.store.records import SCHEMA_VERSION, Run, RunRecord, StageKind, StageRecord, TrialRecord, TrialResult

RESULT = "result.json"
RUN = "run.json"
STARTS = "starts"

_DONE = b'\n "status": "done",\n'
_END = b'\n "schema_version": %d\n}\n' % SCHEMA_VERSION
"""Lines of a record as ``write`` lays it out. What lies deeper in it is indented further, and no text in JSON holds a
line break, so that nothing else in a record looks like them."""

_START_TIME = "%Y%m%dT%H%M%S.%f"
_START = re.compile(r"(\d{8}T\d{6}\.\d{6})Z-[0-9a-f]{8}")

Standing = Literal["done", "failed", "unreadable"]
"""Where a stage that was committed stands."""

Record = TypeVar("Record")


class Store:
    """The records and artifacts of one run.

    Args:
        root: the run's directory, ``runs/<name>``.
        writable: whether records will be written; the directory is then made where it does not exist.

    Raises:
        StoreError: where the directory cannot be made or written to.
    """

    def __init__(self, root: Path, writable: bool = True) -> None:
        self.root = root
        self._root = os.fspath(root)
        if writable:
            with disk("write run directory", root, "Choose another place with --runs-dir, or mend its permissions."):
                root.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=root):
                    pass

    def directory(self, kind: StageKind, key: str) -> Path:
        """Return the directory of a stage; it may not exist yet."""
        return self.root / kind / key

    def keys(self, kind: StageKind) -> frozenset[str]:
        """Return the keys of the stages of one kind that have a directory; not all of them need be committed."""
        folder = self.root / kind
        return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()

    def read(self, kind: StageKind, key: str) -> StageRecord | None:
        """Return the record of a stage, or None where it has not been committed.

        Raises:
            RecordSchemaError: where it was written under another schema version.
            StoreError: where it cannot be read.
        """
        path = self._result(kind, key)
        raw = content_of(path)
        return None if raw is None else _parse(path, raw, stage_adapter())

    def standing(self, kind: StageKind, key: str) -> Standing | None:
        """Return where a stage stands, None where it has not been committed.

        Of a record that was written here its first and last lines tell that; to read thousands of them whole would
        take longer than to plan them. A record that was cut off is ``unreadable``: its stage is as good as not done.

        Raises:
            RecordSchemaError: where it was written under another schema version.
            StoreError: where it cannot be read.
        """
        path = self._result(kind, key)
        raw = content_of(path)
        if raw is None:
            return None
        if _DONE in raw and raw.endswith(_END):
            return "done"
        try:
            return _parse(path, raw, stage_adapter()).status
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
        """Commit a stage: its artifacts must have been written before."""
        folder = self.directory(record.stage, record.key)
        with disk("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(folder / RESULT, stage_adapter().dump_json(record, indent=1) + b"\n")

    def save_artifact(self, kind: StageKind, key: str, name: str, write: Callable[[Path], None]) -> str:
        """Let ``write`` make a file, move it into the stage's directory, and return its SHA-256."""
        folder = self.directory(kind, key)
        with disk("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / name) as temporary:
                write(temporary)
                digest = file_digest(temporary)
        return digest

    def artifact(self, record: StageRecord, name: str) -> Path:
        """Return the path of an artifact after checking its digest.

        Raises:
            LostError: where the file is missing or differs from what was recorded.
        """
        path = self.directory(record.stage, record.key) / name
        problem = problem_of(path, record.artifacts.get(name))
        if problem:
            text = f"{path} {problem}. Start the run again: what is damaged is made anew."
            raise LostError(record.stage, record.key, f"{name} {problem}", text)
        return path

    def damage(self, record: StageRecord) -> str | None:
        """Return what is wrong with an artifact of a stage, None where all are as they were recorded."""
        folder = self.directory(record.stage, record.key)
        problems = ((name, problem_of(folder / name, digest)) for name, digest in record.artifacts.items())
        return next((f"{name} {problem}" for name, problem in problems if problem), None)

    def _result(self, kind: StageKind, key: str) -> str:
        # As text: there are tens of thousands of them, and a Path takes as long to make as a file to open.
        return f"{self._root}{os.sep}{kind}{os.sep}{key}{os.sep}{RESULT}"

    def write_run(self, record: RunRecord) -> None:
        """Write what the run was asked for."""
        with disk("write", self.root):
            atomic_write(self.root / RUN, TypeAdapter(RunRecord).dump_json(record, indent=1) + b"\n")

    def read_run_if_any(self) -> RunRecord | None:
        """Return what the run was asked for, None where that was never written or is no record any more."""
        try:
            return read_run(self.root) if (self.root / RUN).is_file() else None
        except UnreadableRecordError:
            return None


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a run back from its directory.

    Args:
        path: ``runs/<name>``, which holds ``run.json``.

    Returns:
        The run's record and its trials, each joined with the records of its stages.

    Raises:
        StoreError: where there is no run, or a record cannot be read.
        RecordSchemaError: where a record was written under another schema version.
    """
    root = Path(path)
    record = read_run(root)
    trials = read_trials(Store(root, writable=False), record.trials)
    return Run(record=record, trials=trials, starts=read_starts(root))


def read_trials(store: Store, trials: Iterable[TrialRecord]) -> tuple[TrialResult, ...]:
    """Return trials joined with the records of their stages.

    Raises:
        StoreError: where a record cannot be read.
    """

    # A stage is shared by many trials; each file is read once.
    @cache
    def read(kind: StageKind, key: str | None) -> StageRecord | None:
        return store.read(kind, key) if key else None

    def present(kind: StageKind, keys: Iterable[str]) -> tuple[StageRecord, ...]:
        return tuple(filter(None, (read(kind, key) for key in keys)))

    # What is read is kept; to look for garbage among it again and again would take a third of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return tuple(
            TrialResult(
                trial=trial,
                ancestors=present("train", trial.ancestors),
                train=read("train", trial.train),
                compress=read("compress", trial.compress),
                evaluate=read("evaluate", trial.evaluate),
                measure=present("measure", trial.measure),
            )
            for trial in trials
        )
    finally:
        if collecting:
            gc.enable()


def read_run(root: Path) -> RunRecord:
    """Return what a run was asked for.

    Raises:
        StoreError: where ``root`` holds no run.
        RecordSchemaError: where it was written under another schema version.
    """
    path = root / RUN
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{root} holds no run: {path.name} cannot be read ({error.strerror}). "
            "Give the directory that 'sparsebench run' wrote, for example runs/default."
        ) from error
    return _parse(path, raw, TypeAdapter(RunRecord))


def note_start(root: Path, at: datetime) -> None:
    """Note that work on the run in ``root`` starts at ``at``, a time with its zone.

    Raises:
        StoreError: where the note cannot be written.
    """
    folder = root / STARTS
    with disk("write", folder, "Free some space or mend its permissions."):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{at.astimezone(UTC).strftime(_START_TIME)}Z-{uuid.uuid4().hex[:8]}").touch(exist_ok=False)


def read_starts(root: Path) -> tuple[datetime, ...]:
    """Return when work on the run in ``root`` was started, in UTC, earliest first; other files are passed over."""
    folder = root / STARTS
    names = (_START.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ()))
    return tuple(sorted(datetime.strptime(name[1], _START_TIME).replace(tzinfo=UTC) for name in names if name))


@lru_cache
def stage_adapter() -> TypeAdapter[StageRecord]:
    """Return what writes and reads the record of a stage as JSON."""
    return TypeAdapter(StageRecord)


def _parse(path: str | Path, raw: bytes, adapter: TypeAdapter[Record]) -> Record:
    """Read a record, refusing one of another schema version before anything of it is believed."""
    try:
        # Taking a record apart once more, for one number that stands at its end, would take as long as reading it.
        version = SCHEMA_VERSION if raw.endswith(_END) else json.loads(raw)["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableRecordError(f"{path} is no record: {error!r}. Delete it and start again.") from error
    if version != SCHEMA_VERSION:
        raise RecordSchemaError(
            f"{path} was written under schema version {version}; this sparsebench reads version {SCHEMA_VERSION}. "
            "Use the sparsebench that wrote it, or give the run another name."
        )
    try:
        return adapter.validate_json(raw)
    except ValidationError as error:
        raise StoreError(f"{path} is no valid record: {error}. Delete it and start again.") from error
