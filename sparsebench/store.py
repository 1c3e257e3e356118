"""The run directory: ``runs/<name>/<stage>/<key>/`` with artifacts, and ``result.json`` written last.

A result is written to a temporary name, fsynced and renamed: it is there whole or not at all, and there is no lock to
be left behind. Several processes may write side by side; whoever renames last wins, with the same content.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sparsebench.errors import RecordSchemaError, StoreError
from sparsebench.records import SCHEMA_VERSION, Run, RunRecord, StageKind, StageRecord, TrialResult
from sparsebench.starts import read_starts

RESULT = "result.json"
RUN = "run.json"


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
        if not writable:
            return
        with _disk("write run directory", root, "Choose another place with --runs-dir, or mend its permissions."):
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
        path = self.directory(kind, key) / RESULT
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        record: StageRecord = _parse(path, raw, _stage_adapter())
        return record

    def write(self, record: StageRecord) -> None:
        """Commit a stage: its artifacts must have been written before."""
        folder = self.directory(record.stage, record.key)
        with _disk("write", folder, "Free some space or mend its permissions; start again, and the run continues."):
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(folder / RESULT, _stage_adapter().dump_json(record, indent=1) + b"\n")

    def save_artifact(self, kind: StageKind, key: str, name: str, write: Callable[[Path], None]) -> str:
        """Let ``write`` make a file, move it into the stage's directory, and return its SHA-256."""
        folder = self.directory(kind, key)
        with _disk("write", folder, "Free some space or mend its permissions; start again, and the run continues."):
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
            StoreError: where the file is missing or differs from what was recorded.
        """
        path = self.directory(record.stage, record.key) / name
        remedy = f"Delete {path.parent} and start again: it will be made anew."
        if not path.is_file():
            raise StoreError(f"{path} is missing. {remedy}")
        if file_digest(path) != record.artifacts.get(name):
            raise StoreError(f"{path} is not what was recorded: its SHA-256 differs. {remedy}")
        return path

    def write_run(self, record: RunRecord) -> None:
        """Write what the run was asked for."""
        with _disk("write", self.root, "Free some space or mend its permissions."):
            atomic_write(self.root / RUN, TypeAdapter(RunRecord).dump_json(record, indent=1) + b"\n")

    def read_run_if_any(self) -> RunRecord | None:
        """Return what the run was asked for, None where that was never written."""
        return read_run(self.root) if (self.root / RUN).is_file() else None


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
    store = Store(root, writable=False)

    # A stage is shared by many trials; each file is read once.
    @cache
    def read(kind: StageKind, key: str | None) -> StageRecord | None:
        return store.read(kind, key) if key else None

    def present(kind: StageKind, keys: Iterable[str]) -> tuple[StageRecord, ...]:
        return tuple(filter(None, (read(kind, key) for key in keys)))

    trials = tuple(
        TrialResult(
            trial=trial,
            ancestors=present("train", trial.ancestors),
            train=read("train", trial.train),
            compress=read("compress", trial.compress),
            evaluate=read("evaluate", trial.evaluate),
            measure=present("measure", trial.measure),
        )
        for trial in record.trials
    )
    return Run(record=record, trials=trials, starts=read_starts(root))


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
def _stage_adapter() -> TypeAdapter[StageRecord]:
    return TypeAdapter(StageRecord)


def _parse(path: Path, raw: bytes, adapter: TypeAdapter[Any]) -> Any:
    """Read a record, refusing one of another schema version before anything of it is believed."""
    try:
        content = json.loads(raw)
        version = content["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is no record: {error!r}. Delete {path.parent} and start again.") from error
    if version != SCHEMA_VERSION:
        raise RecordSchemaError(
            f"{path} was written under schema version {version}; this sparsebench reads version {SCHEMA_VERSION}. "
            "Use the sparsebench that wrote it, or give the run another name."
        )
    try:
        return adapter.validate_json(raw)
    except ValidationError as error:
        raise StoreError(f"{path} is no valid record: {error}. Delete {path.parent} and start again.") from error


@contextmanager
def _disk(doing: str, path: Path, remedy: str) -> Iterator[None]:
    """Turn an operating-system error into a sentence with its remedy."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"Cannot {doing} {path}: {error.strerror or error}. {remedy}") from error
