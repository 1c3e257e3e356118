"""The sequencer of stages: what is done is left alone, what failed is recorded, the rest is run in order."""

import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sparsebench import __version__
from sparsebench.config import HOW_TRAINING_RUNS, SweepConfig, load_config
from sparsebench.environment import describe_environment
from sparsebench.errors import NoEffectWarning, StoreError, UnreachedWarning
from sparsebench.executors import Executor, Needs
from sparsebench.executors.local import Local
from sparsebench.facts import gather_facts
from sparsebench.plan import Plan, Stage, make_plan, plan_sensitivity
from sparsebench.records import EpochRecord, Failure, Run, RunRecord, StageRecord
from sparsebench.starts import note_start
from sparsebench.store import Store, load_run

if TYPE_CHECKING:
    from sparsebench.stages import Outcome, Workbench

StageStatus = Literal["done", "failed", "skipped", "pending"]

# Warnings that are about the result, and therefore stand in its record.
_NOTED = (NoEffectWarning, UnreachedWarning)


class Watcher:
    """Is told how a run goes on. Its methods do nothing; a subclass overrides those that it needs."""

    def planned(self, plan: Plan, status: Mapping[str, StageStatus]) -> None:
        """Called once, before any work, with the state in which the run was found."""

    def started(self, stage: Stage) -> None:
        """Called before a stage."""

    def together(self, stages: Sequence[Stage]) -> None:
        """Called before stages that are timed together, after ``started`` was for each of them."""

    def epoch(self, epoch: EpochRecord, epochs: int) -> None:
        """Called after each epoch of training, where the trainer tells."""

    def finished(self, stage: Stage, record: StageRecord) -> None:
        """Called after a stage was committed, done or failed."""

    def skipped(self, stage: Stage) -> None:
        """Called for a stage that cannot run because one before it failed."""


def plan_sweep(config: SweepConfig) -> Plan:
    """Return the plan of ``config`` on this machine."""
    return make_plan(config, gather_facts(config))


def stage_status(plan: Plan, store: Store) -> dict[str, StageStatus]:
    """Return where each stage of the plan stands in the store, by key."""
    status: dict[str, StageStatus] = {}
    # Looking for a file that is not there takes as long as planning it did.
    there = {kind: store.keys(kind) for kind in {stage.kind for stage in plan.stages}}
    for stage in plan.stages:
        record = store.read(stage.kind, stage.key) if stage.key in there[stage.kind] else None
        if record is not None:
            status[stage.key] = record.status
        elif stage.parent and status[stage.parent] in ("failed", "skipped"):
            status[stage.key] = "skipped"
        else:
            status[stage.key] = "pending"
    return status


def run_sweep(
    config: SweepConfig | None = None,
    *,
    runs_dir: str | Path = "runs",
    retry_failed: bool = False,
    watcher: Watcher | None = None,
    executor: Executor | None = None,
    command: str = "",
) -> Run:
    """Run what is left of a sweep and return the whole run.

    A stage that is done is never done again: a run that was killed goes on where it was, and a finished one returns
    at once. A stage that fails is recorded with its error, what builds on it is skipped, and the rest goes on.

    Args:
        config: what to sweep; the embedded default where None.
        runs_dir: the directory in which the run's own directory, named by ``config.name``, lies.
        retry_failed: whether stages that failed before are tried again.
        watcher: is told how the run goes on.
        executor: where stages run; this process where None.
        command: the command line to note in the run's record.

    Returns:
        The run as ``load_run`` reads it.

    Raises:
        ConfigError: where the data, the networks or the trainer of the config cannot be used; nothing was run.
        StoreError: where the run directory cannot be written to.
    """
    config = config or load_config()
    plan = plan_sweep(config)
    store = Store(Path(runs_dir) / config.name)
    work = _Work(config, plan, store, watcher or Watcher(), retry_failed)
    _write_run(config, plan, store, command)
    work.carry_out(executor or Local())
    return load_run(store.root)


def run_sensitivity(
    config: SweepConfig | None = None,
    *,
    runs_dir: str | Path = "runs",
    retry_failed: bool = False,
    watcher: Watcher | None = None,
    executor: Executor | None = None,
) -> tuple[StageRecord, ...]:
    """Prune one layer at a time of the dense networks of a sweep, without training, and read the validation split.

    The dense networks are those of the sweep itself: what is trained for one is there for the other. Arguments and
    errors are those of ``run_sweep``.

    Returns:
        One record for each model, dataset and seed, done or failed; those whose network could not be trained are
        missing.
    """
    config = config or load_config()
    plan = plan_sensitivity(config, gather_facts(config))
    store = Store(Path(runs_dir) / config.name)
    _Work(config, plan, store, watcher or Watcher(), retry_failed).carry_out(executor or Local())
    records = (store.read(stage.kind, stage.key) for stage in plan.stages if stage.kind == "sensitivity")
    return tuple(record for record in records if record is not None)


class _Work:
    """What is left to do of a plan. Whatever can be checked beforehand is checked when it is built."""

    def __init__(self, config: SweepConfig, plan: Plan, store: Store, watcher: Watcher, retry_failed: bool) -> None:
        self.started_at = datetime.now(UTC)
        self.plan = plan
        self.watcher = watcher
        self.status = stage_status(plan, store)
        open_states = {"pending", "failed", "skipped"} if retry_failed else {"pending"}
        self.todo = [stage for stage in plan.stages if self.status[stage.key] in open_states]
        self.hang_seconds = config.measure.hang_seconds
        self.workbench = _prepare(config, store, self.todo, watcher) if self.todo else None

    def carry_out(self, executor: Executor) -> None:
        """Run the stages in order; what builds on a failed one is skipped.

        Networks that are timed together wait for the last of them, as its place in the order comes.
        """
        self.watcher.planned(self.plan, self.status)
        if self.workbench is None:
            return
        note_start(self.workbench.store.root, self.started_at)
        sessions: dict[str, list[Stage]] = {}
        for stage in self.todo:
            if stage.kind == "measure":
                sessions.setdefault(stage.session, []).append(stage)
        for stage in self.todo:
            if stage.kind != "measure":
                for ready in self._ready([stage]):
                    work = partial(run_stage, ready, self.workbench)
                    self._finished(ready, executor.submit(work, Needs(gpu=stage.kind == "train")).result())
            elif stage is sessions[stage.session][-1]:
                self._time(self._ready(sessions[stage.session]), executor, self.workbench)

    def _ready(self, stages: Sequence[Stage]) -> list[Stage]:
        """Return the stages that can run; the others are skipped, for what they build on failed."""
        ready = []
        for stage in stages:
            if stage.parent and self.status[stage.parent] != "done":
                self.status[stage.key] = "skipped"
                self.watcher.skipped(stage)
            else:
                self.watcher.started(stage)
                ready.append(stage)
        return ready

    def _time(self, session: list[Stage], executor: Executor, workbench: "Workbench") -> None:
        """Time networks together."""
        if not session:
            return
        self.watcher.together(session)
        work = partial(run_session, session, workbench, self.hang_seconds)
        records = executor.submit(work, Needs(exclusive=True)).result()
        for stage, record in zip(session, records, strict=True):
            self._finished(stage, record)

    def _finished(self, stage: Stage, record: StageRecord) -> None:
        self.status[stage.key] = record.status
        self.watcher.finished(stage, record)


def _prepare(config: SweepConfig, store: Store, todo: list[Stage], watcher: Watcher) -> "Workbench":
    """Check all that can be checked before any work, and return the bench at which stages are done."""
    # Only now, with work to do, is torch worth its import.
    from sparsebench.preflight import check_all
    from sparsebench.stages import Workbench

    how = {key: getattr(config.train, key) for key in HOW_TRAINING_RUNS}
    asked = [stage.settings["quantize"]["calibration_batches"] for stage in todo if stage.settings.get("quantize")]
    workbench = Workbench(
        store, config.train.device, on_epoch=watcher.epoch, how=how, calibration_batches=max(asked, default=1)
    )
    if any(stage.kind == "train" for stage in todo):
        check_all(config, workbench)
    return workbench


def run_stage(stage: Stage, workbench: "Workbench") -> StageRecord:
    """Run one stage and commit its record, done or failed.

    Raises:
        StoreError: where the record or an artifact cannot be written; there is nowhere to record that.
    """
    started_at, started = datetime.now(UTC), time.perf_counter()
    outcome: Outcome | Exception
    with warnings.catch_warnings(record=True) as caught:
        for kind in _NOTED:
            warnings.simplefilter("always", kind)
        try:
            outcome = workbench.do(stage)
        except StoreError:
            raise
        except Exception as error:
            outcome = error
    for warning in caught:
        if not issubclass(warning.category, _NOTED):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    noted = tuple(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, _NOTED)))
    record = _commit(stage, workbench.store, started_at, time.perf_counter() - started, outcome, noted)
    if record.status == "done":
        workbench.committed(stage)
    return record


def run_session(stages: Sequence[Stage], workbench: "Workbench", hang_seconds: float) -> list[StageRecord]:
    """Time networks together and commit a record of each, done or failed; each has its share of the seconds.

    Raises:
        StoreError: where a record or an artifact cannot be written.
    """
    from sparsebench.measuring import Timed, time_together

    started_at, started = datetime.now(UTC), time.perf_counter()
    try:
        timed = time_together(stages, workbench, hang_seconds)
    except StoreError:
        raise
    except Exception as error:
        timed = Timed(dict.fromkeys((stage.key for stage in stages), error))
    share = (time.perf_counter() - started) / len(stages)
    return [
        _commit(stage, workbench.store, started_at, share, timed.outcomes[stage.key], timed.warnings)
        for stage in stages
    ]


def _commit(
    stage: Stage,
    store: Store,
    started_at: datetime,
    seconds: float,
    outcome: "Outcome | Exception",
    noted: tuple[str, ...],
) -> StageRecord:
    """Write the record of what a stage brought forth."""
    before = store.read(stage.kind, stage.key)
    failure = None
    if isinstance(outcome, Exception):
        trace = "".join(traceback.format_exception(outcome))
        failure = Failure(error=type(outcome).__name__, message=str(outcome), traceback=trace)
    record = StageRecord(
        stage=stage.kind,
        key=stage.key,
        parent=stage.parent,
        settings=stage.settings,
        status="failed" if failure else "done",
        attempt=before.attempt + 1 if before else 1,
        started_at=started_at.isoformat(timespec="milliseconds"),
        seconds=seconds,
        environment=describe_environment(),
        warnings=noted,
        artifacts={} if isinstance(outcome, Exception) else outcome.artifacts,
        result=None if isinstance(outcome, Exception) else outcome.result,
        failure=failure,
    )
    store.write(record)
    return record


def _write_run(config: SweepConfig, plan: Plan, store: Store, command: str) -> None:
    """Note what the run is asked for, unless the same is noted already: who only looks at a run does not change it."""
    asked = config.model_dump(mode="json")
    before = store.read_run_if_any()
    if before is not None and (before.config, before.trials) == (asked, plan.trials):
        return
    record = RunRecord(
        name=config.name,
        config=asked,
        command=command,
        sparsebench=__version__,
        trials=plan.trials,
        environment=describe_environment(),
    )
    store.write_run(record)
