"""The run directory: ``runs/<name>/<stage>/<key>/`` with artifacts, and ``result.json`` written last.

A result is written to a temporary name, fsynced and renamed: it is there whole or not at all, and there is no lock to
be left behind. Several processes may write side by side; whoever renames last wins, with the same content.
"""

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from sparsebench.errors import LostError, RecordSchemaError, StoreError, UnreadableRecordError
from sparsebench.records import SCHEMA_VERSION, Run, RunRecord, StageKind, StageRecord, TrialRecord, TrialResult

RESULT = "result.json"
RUN = "run.json"

_REMEDY = "Free some space or mend its permissions; start again, and the run continues."

_FULL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)}

_OS_ERROR = re.compile(r"(?:os error |Os \{ code: )(\d+)")
"""How libraries written in Rust, safetensors among them, tell of an error of the operating system."""

_DONE = b'\n "status": "done",\n'
_END = b'\n "schema_version": %d\n}\n' % SCHEMA_VERSION
"""Lines of a record as ``write`` lays it out. What lies deeper in it is indented further, and no text in JSON holds a
line break, so that nothing else in a record looks like them."""


Standing = Literal["done", "failed", "unreadable"]
"""Where a stage that was committed stands."""


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
        if not writable:
            return
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
        raw = _content(path)
        if raw is None:
            return None
        record: StageRecord = _parse(path, raw, stage_adapter())
        return record

    def standing(self, kind: StageKind, key: str) -> Standing | None:
        """Return where a stage stands, None where it has not been committed.

        Of a record that was written here its first and last lines tell that; to read thousands of them whole would
        take longer than to plan them. A record that was cut off is ``unreadable``: its stage is as good as not done.

        Raises:
            RecordSchemaError: where it was written under another schema version.
            StoreError: where it cannot be read.
        """
        path = self._result(kind, key)
        raw = _content(path)
        if raw is None:
            return None
        if _DONE in raw and raw.endswith(_END):
            return "done"
        try:
            record: StageRecord = _parse(path, raw, stage_adapter())
        except UnreadableRecordError:
            return "unreadable"
        return record.status

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
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
            os.close(handle)
            try:
                write(Path(temporary))
                digest = file_digest(Path(temporary))
                os.replace(temporary, folder / name)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        return digest

    def artifact(self, record: StageRecord, name: str) -> Path:
        """Return the path of an artifact after checking its digest.

        Raises:
            LostError: where the file is missing or differs from what was recorded.
        """
        path = self.directory(record.stage, record.key) / name
        problem = _problem(path, record.artifacts.get(name))
        if problem:
            text = f"{path} {problem}. Start the run again: what is damaged is made anew."
            raise LostError(record.stage, record.key, f"{name} {problem}", text)
        return path

    def damage(self, record: StageRecord) -> str | None:
        """Return what is wrong with an artifact of a stage, None where all are as they were recorded."""
        folder = self.directory(record.stage, record.key)
        for name, digest in record.artifacts.items():
            problem = _problem(folder / name, digest)
            if problem:
                return f"{name} {problem}"
        return None

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
    return Run(record=record, trials=read_trials(Store(root, writable=False), record.trials))


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
    record: RunRecord = _parse(path, raw, TypeAdapter(RunRecord))
    return record


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; only POSIX systems can sync a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@lru_cache
def stage_adapter() -> TypeAdapter[StageRecord]:
    """Return what writes and reads the record of a stage as JSON."""
    return TypeAdapter(StageRecord)


def _content(path: str) -> bytes | None:
    """Return the content of a file, None where it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}. Mend its permissions or its disk.") from error


def _problem(path: Path, digest: str | None) -> str | None:
    """Return what is wrong with a file that should have this SHA-256, as a sentence goes on after its name."""
    try:
        same = file_digest(path) == digest
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if same else "is not what was recorded: its SHA-256 differs"


def _parse(path: str | Path, raw: bytes, adapter: TypeAdapter[Any]) -> Any:
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


def raise_if_full(error: Exception, root: Path) -> None:
    """Stop a run whose disk is full, wherever in a stage that was found: all stages to come would fail by it.

    Raises:
        StoreError: where ``error`` says so.
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f"{error.filename}, in a stage of {root}" if error.filename else f"files of a stage of {root}"
        raise StoreError(f"Cannot write {where}: {error.strerror}. {_REMEDY}") from error


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
