"""A run read back from its directory: records that are not believed are left out, and named."""

import gc
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from sparsebench.errors import LeftOutWarning, RecordSchemaError, StoreError, UnreadableRecordError
from sparsebench.store.checks import contradiction, other_trial
from sparsebench.store.directory import RESULT, RUN, Store
from sparsebench.store.disk import MADE_ANEW
from sparsebench.store.records import (
    PARENTS,
    LeftOut,
    Run,
    RunRecord,
    StageKind,
    StageRecord,
    TrialRecord,
    TrialResult,
)
from sparsebench.store.starts import note_start, read_starts
from sparsebench.store.timings import MeasureResult, SessionResult

__all__ = ["RESULT", "RUN", "Store", "load_run", "note_start", "read_run", "read_starts", "read_trials"]

_SHOWN = 3


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a run back from its directory.

    Args:
        path: ``runs/<name>``, which holds ``run.json``.

    Returns:
        The run's record and its trials, each joined with the records of its stages. Records that are not believed are
        left out, and named in ``left_out``; the next start of the run makes them again.

    Warns:
        LeftOutWarning: where records were left out.

    Raises:
        StoreError: where there is no run, or its own record is not believed.
        RecordSchemaError: where that was written under another schema version.
    """
    run = read_back(Path(path))
    say_left_out(Path(path), run.left_out)
    return run


def read_back(root: Path) -> Run:
    """Read a run back as ``load_run`` does, without a word of what was left out."""
    store = Store(root, writable=False)
    record = store.read_run()
    trials, left_out = read_trials(store, record.trials)
    if store.mixed:
        raise StoreError(
            f"{root / RUN} has no digest, and records of the run have: it was changed, or the run was stopped while it "
            "gave them to records of an earlier version. Start the run again, which puts that right."
        )
    return Run(record=record, trials=trials, starts=read_starts(root), left_out=left_out)


def say_left_out(root: Path, left_out: Sequence[LeftOut]) -> None:
    """Warn of what was left out of a run, where that is anything."""
    if left_out:
        warnings.warn(told(root, left_out), LeftOutWarning, stacklevel=3)


def told(root: Path, found: Sequence[LeftOut]) -> str:
    """Return in a sentence or two what was left out of a run."""
    named = "; ".join(str(one) for one in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    records = "1 record is" if len(found) == 1 else f"{len(found)} records are"
    return f"{records} not believed and left out of {root}: {named}{more}. {MADE_ANEW}"


def read_trials(store: Store, trials: Iterable[TrialRecord]) -> tuple[tuple[TrialResult, ...], tuple[LeftOut, ...]]:
    """Return trials joined with the records of their stages, and the records that were left out.

    Raises:
        StoreError: where the disk cannot be read.
    """
    reader = _Reader(store)
    # What is read is kept; to look for garbage among it again and again would take a third of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        found = tuple(map(reader.joined, trials))
    finally:
        if collecting:
            gc.enable()
    doubtful = reader.of_doubtful_sessions()
    if doubtful:
        found = tuple(
            replace(trial, measure=tuple(record for record in trial.measure if record.key not in doubtful))
            for trial in found
        )
    return found, tuple(reader.left_out.values())


class _Reader:
    """Reads records, each once, for a stage is shared by many trials; notes which of them are not believed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sessions: dict[str, list[tuple[str, SessionResult]]] = defaultdict(list)
        self.left_out: dict[str, LeftOut] = {}
        self.read = cache(self._read)

    def _leave_out(self, kind: StageKind, key: str, why: str) -> None:
        self.left_out.setdefault(key, LeftOut(stage=kind, key=key, why=why))

    def _read(self, kind: StageKind, key: str) -> StageRecord | None:
        try:
            record = self._store.read(kind, key)
        except UnreadableRecordError as error:
            self._leave_out(kind, key, error.why)
            return None
        except RecordSchemaError as error:
            self._leave_out(kind, key, str(error))
            return None
        if record is None:
            return None
        parent = self.read(PARENTS[kind], record.parent) if record.parent else None
        if why := contradiction(record, parent):
            self._leave_out(kind, key, why)
            return None
        if isinstance(record.result, MeasureResult):
            self._sessions[record.result.session.id].append((key, record.result.session))
        return record

    def joined(self, trial: TrialRecord) -> TrialResult:
        """Return a trial with the records of its stages."""

        def find(kind: StageKind, key: str | None, parent: str | None) -> StageRecord | None:
            record = self.read(kind, key) if key else None
            why = other_trial(trial, record, parent) if record else None
            if record and why:
                self._leave_out(kind, record.key, why)
            return None if why else record

        starts = (None, *trial.ancestors)
        return TrialResult(
            trial=trial,
            ancestors=_there(find("train", key, start) for key, start in zip(trial.ancestors, starts, strict=False)),
            train=find("train", trial.train, starts[-1]),
            compress=find("compress", trial.compress, trial.train),
            validate=find("evaluate", trial.validate, trial.compress),
            evaluate=find("evaluate", trial.evaluate, trial.compress),
            measure=_there(find("measure", key, trial.compress) for key in trial.measure),
        )

    def of_doubtful_sessions(self) -> set[str]:
        """Return the keys of latencies that say something else of their session than most others of it do."""
        doubtful = set()
        for told in self._sessions.values():
            kinds: list[list[str]] = []
            said = dict(told)
            for key, session in told:
                same = next((kind for kind in kinds if session == said[kind[0]]), None)
                if same is None:
                    kinds.append([key])
                else:
                    same.append(key)
            kinds.sort(key=len)
            if len(kinds) == 1 or len(kinds[-1]) > len(kinds[-2]):
                kinds.pop()
            for key in (key for kind in kinds for key in kind):
                self._leave_out("measure", key, "it says something else of its session than the other records of it")
                doubtful.add(key)
        return doubtful


def _there(records: Iterable[StageRecord | None]) -> tuple[StageRecord, ...]:
    return tuple(filter(None, records))


def read_run(root: Path) -> RunRecord:
    """Return what a run was asked for.

    Raises:
        StoreError: where ``root`` holds no run, or its record is not believed.
        RecordSchemaError: where it was written under another schema version.
    """
    return Store(root, writable=False).read_run()
