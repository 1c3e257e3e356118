"""Tasks carried out: what a process that works for a run does, and what becomes of it in the store."""

import math
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sparsebench.errors import (
    LostError,
    NoEffectWarning,
    OutputsWarning,
    StoreError,
    UnreachedWarning,
    UnreadableRecordError,
    UserCodeError,
    printable,
)
from sparsebench.runner.plan import Stage
from sparsebench.runner.repair import aside_of, note, set_lost_aside
from sparsebench.runner.tasks import Noted, Setup, Started, Task, Tell, Timed, Trained
from sparsebench.store.disk import raise_if_full
from sparsebench.store.environment import describe_environment
from sparsebench.store.records import PARENTS, Failure, StageRecord
from sparsebench.store.run_directory import Store
from sparsebench.store.written import digest_of
from sparsebench.trust import own_of_settings
from sparsebench.user_code import own_code

if TYPE_CHECKING:
    from sparsebench.runner.stages.workbench import Outcome, Workbench
    from sparsebench.timing.schedule import Step

MOST_TOLD = 100_000
"""Characters of a reason, a traceback or a warning that a record keeps."""

STEP_SECONDS = 0.25
"""How often a session tells where it stands, at most: rounds of small networks take less."""

CHECKPOINT = "network.resume.pt"
"""Where the trainer of a training stage notes how far it has come."""

# Warnings that are about the result, and therefore stand in its record.
_NOTED = (NoEffectWarning, OutputsWarning, UnreachedWarning)

_kept: "list[tuple[Setup, Workbench]]" = []
"""The bench of this process, once it has one: datasets are loaded, and training batches recorded, once."""


def workbench(setup: Setup) -> "Workbench":
    """Return the bench of this process for tasks of ``setup``; it is kept until ``forget``."""
    from sparsebench.runner.stages import Workbench

    if not _kept or _kept[0][0] != setup:
        made = Workbench(Store(setup.root), setup.device, how=setup.how, calibration_batches=setup.calibration_batches)
        _kept[:] = [(setup, made)]
    return _kept[0][1]


def forget() -> None:
    """Let go of the bench of this process: what it has loaded may be something else in the next run."""
    for _, bench in _kept:
        bench.use_threads(None)
    _kept.clear()


def carry_out(task: Task, tell: Tell) -> list[StageRecord]:
    """Do a task and commit the record of each of its stages, done or failed; return the records.

    All that it builds on is in the run directory. What another driver has done meanwhile is not done again.

    Raises:
        StoreError: where a record or an artifact cannot be written; there is nowhere to record that.
    """
    bench = workbench(task.setup)
    tell(Started(task.key))
    there, left = _done_by_others(task, bench.store)
    if left:
        bench.on_epoch = lambda epoch, epochs: tell(Trained(task.key, epoch, epochs))
        bench.use_threads(task.needs.threads)
        if left[0].kind == "measure":
            there |= _time(left, bench, task.setup.hang_seconds, _told(left, task.key, tell))
        else:
            for stage in left:
                there |= _run(stage, bench)
    return [there[stage.key] for stage in task.stages]


def record_failure(task: Task, message: str, seconds: float, details: str = "") -> list[StageRecord]:
    """Commit what is known of a task whose worker is gone; return the record of each of its stages.

    Stages that the worker had committed before keep their records. ``details`` stand in place of a traceback.

    Raises:
        StoreError: where a record cannot be written.
    """
    store, failure = Store(task.setup.root), Failure(error="WorkerError", message=message, traceback=details)
    there, left = _done_by_others(task, store)
    started_at = datetime.now(UTC) - timedelta(seconds=seconds)
    there |= {
        stage.key: _commit(stage, store, started_at, seconds / len(left), failure, threads=task.needs.threads)
        for stage in left
    }
    return [there[stage.key] for stage in task.stages]


def _done_by_others(task: Task, store: Store) -> tuple[dict[str, StageRecord], list[Stage]]:
    """Return the records of stages that somebody has done since the run was planned, by key, and the other stages."""
    found = {}
    for stage, attempts in zip(task.stages, task.attempts, strict=True):
        record = store.believed(stage.kind, stage.key)
        if record and (record.status == "done" or record.attempt > attempts):
            found[stage.key] = record
    return found, [stage for stage in task.stages if stage.key not in found]


def _run(stage: Stage, bench: "Workbench") -> dict[str, StageRecord]:
    from sparsebench.runner.stages import RUN

    started_at, started = datetime.now(UTC), time.perf_counter()
    bench.store.prepared(stage.kind, stage.key)
    outcome: Outcome | Failure
    lost = None
    with warnings.catch_warnings(record=True) as caught:
        for kind in _NOTED:
            warnings.simplefilter("always", kind)
        try:
            with own_code(*_own_of(stage, bench.store)):
                outcome = RUN[stage.kind](stage, bench)
        except LostError as error:
            lost, outcome = error, _failure(error)
        except StoreError:
            raise
        except Exception as error:
            cause = error.__cause__ if isinstance(error, UserCodeError) else error
            if isinstance(cause, Exception):
                raise_if_full(cause, bench.store.root)
            outcome = _failure(error)
    for warning in caught:
        if not issubclass(warning.category, _NOTED):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    told = (printable(str(w.message))[:MOST_TOLD] for w in caught if issubclass(w.category, _NOTED))
    noted = tuple(dict.fromkeys(told))
    record = _commit(stage, bench.store, started_at, time.perf_counter() - started, outcome, noted)
    if stage.kind == "train" and record.status == "done":
        # It was of use only as long as the stage was not there whole.
        (bench.store.directory("train", stage.key) / CHECKPOINT).unlink(missing_ok=True)
    if lost:
        set_lost_aside(bench.store, lost, record)
    return {stage.key: record}


def _told(stages: Sequence[Stage], key: str, tell: Tell) -> "Callable[[Step], None]":
    """Return what tells where the session of these stages stands, a few times a second, and once what its cap lacks."""
    cap, told_at, is_noted = stages[0].settings["seconds_cap"], -math.inf, False

    def watch(step: "Step") -> None:
        nonlocal told_at, is_noted
        if step.seconds is not None:
            if not is_noted:
                tell(Noted(key, step.too_short(f"{len(stages)} networks", f"measure.seconds_cap = {cap:g}")))
            is_noted = True
        elif time.monotonic() - told_at >= STEP_SECONDS:
            told_at = time.monotonic()
            tell(Timed(key, str(step)))

    return watch


def _time(
    stages: Sequence[Stage], bench: "Workbench", hang_seconds: float, watch: "Callable[[Step], None]"
) -> dict[str, StageRecord]:
    """Time networks together and commit a record of each, done or failed; each has its share of the seconds."""
    from sparsebench.runner.stages import measure

    started_at, started = datetime.now(UTC), time.perf_counter()
    outcomes: dict[str, Outcome | Exception]
    noted: tuple[str, ...] = ()
    try:
        with own_code(*_own_of(stages[0], bench.store)):
            outcomes, noted = measure.run(stages, bench, hang_seconds, watch)
    except StoreError:
        raise
    except Exception as error:
        outcomes = dict.fromkeys((stage.key for stage in stages), error)
    share = (time.perf_counter() - started) / len(stages)
    records = {}
    for stage in stages:
        found = outcomes[stage.key]
        outcome = _failure(found) if isinstance(found, Exception) else found
        records[stage.key] = _commit(stage, bench.store, started_at, share, outcome, noted)
    return records


def _failure(error: Exception) -> Failure:
    trace = "".join(traceback.format_exception(error))
    told, trace = (printable(text)[:MOST_TOLD] for text in (str(error), trace))
    return Failure(error=type(error).__name__, message=told, traceback=trace)


def _own_of(stage: Stage, store: Store) -> list[tuple[str, str]]:
    """Return what of a user's own a stage may call, which the stage names that trained its network."""
    kind, parent, settings = stage.kind, stage.parent, stage.settings
    while kind != "train":
        kind = PARENTS[kind]
        record = store.believed(kind, parent) if parent else None
        if record is None:
            return []
        parent, settings = record.parent, record.settings
    return own_of_settings(settings)


def _commit(
    stage: Stage,
    store: Store,
    started_at: datetime,
    seconds: float,
    outcome: "Outcome | Failure",
    noted: tuple[str, ...] = (),
    threads: int | None = None,
) -> StageRecord:
    """Write the record of what a stage brought forth; ``threads`` are those of another process that ran it."""
    aside = aside_of(store, stage.kind, stage.key)
    before = store.believed(stage.kind, stage.key) or (aside and aside.record)
    parent = store.believed(PARENTS[stage.kind], stage.parent) if stage.parent else None
    failure, done = (outcome, None) if isinstance(outcome, Failure) else (None, outcome)
    seed = stage.settings.get("seed")
    if seed is None and parent is not None:
        seed = parent.settings.get("seed") if parent.seed is None else parent.seed
    record = StageRecord(
        stage=stage.kind,
        key=stage.key,
        parent=stage.parent,
        settings=stage.settings,
        status="done" if done else "failed",
        attempt=before.attempt + 1 if before else 1,
        started_at=started_at.isoformat(timespec="milliseconds"),
        seconds=seconds,
        environment=describe_environment(threads),
        warnings=(*noted, *note(aside, done.artifacts if done else None)),
        artifacts=done.artifacts if done else {},
        result=done.result if done else None,
        failure=failure,
        seed=seed,
        built_on=digest_of(parent),
    )
    try:
        store.write(record)
    except UnreadableRecordError as error:
        if failure:
            raise
        told = f"The result of this stage cannot be recorded: {error.why}."
        failure = Failure(error="ContractError", message=told[:MOST_TOLD], traceback="")
        record = replace(record, status="failed", artifacts={}, result=None, failure=failure)
        store.write(record)
    return record
