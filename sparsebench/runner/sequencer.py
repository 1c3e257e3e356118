"""The sequencer of stages: what is done is left alone, what failed is recorded, the rest is run as it is ready."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sparsebench import __version__
from sparsebench.config import HOW_TRAINING_RUNS, SweepConfig, load_config
from sparsebench.runner.executors import Executor, build_executor
from sparsebench.runner.graph import Graph, StageStatus
from sparsebench.runner.plan import Plan, Stage, make_plan, plan_sensitivity
from sparsebench.runner.plan_facts import gather_facts
from sparsebench.runner.repair import set_damaged_aside, settle, still_open
from sparsebench.runner.sharing.shards import Shard, part_of
from sparsebench.runner.sharing.waiting import Gate
from sparsebench.runner.tasks import Event, Said, Setup, Started, Task, Trained
from sparsebench.runner.watching import Watcher
from sparsebench.runner.work import forget, workbench
from sparsebench.store.environment import describe_environment, moved
from sparsebench.store.records import RunRecord, StageRecord
from sparsebench.store.run import Run
from sparsebench.store.run_directory import Store, load_run, note_start, read_trials


def plan_sweep(config: SweepConfig, machine: Mapping[str, str] | None = None) -> Plan:
    """Return the plan of ``config`` on this machine.

    Args:
        config: what to sweep.
        machine: the identity of the machine that times, where it is not this one.
    """
    facts = gather_facts(config)
    return make_plan(config, facts if machine is None else replace(facts, machine=machine))


def stage_status(plan: Plan, store: Store) -> dict[str, StageStatus]:
    """Return where each stage of the plan stands in the store, by key."""
    status: dict[str, StageStatus] = {}
    standings = store.standings((stage.kind, stage.key) for stage in plan.stages)
    for stage in plan.stages:
        standing = standings.get(stage.key)
        if standing == "done" or standing == "failed":
            status[stage.key] = standing
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
    jobs: int = 1,
    executor: Executor | None = None,
    shard: Shard | None = None,
    command: str = "",
) -> Run:
    """Run what is left of a sweep and return the whole run.

    A stage that is done is never done again: a run that was killed goes on where it was, and a finished one returns
    at once. A stage that fails is recorded with its error, what builds on it is skipped, and the rest goes on. Several
    processes may run the same sweep in the same directory at once: they share the work.

    Args:
        config: what to sweep; the embedded default where None.
        runs_dir: the directory in which the run's own directory, named by ``config.name``, lies.
        retry_failed: whether stages that failed before are tried again.
        watcher: is told how the run goes on.
        jobs: how many stages may run at once on this machine: one in this process, more in worker processes.
        executor: where stages run, in place of ``jobs``.
        shard: the part of the sweep to run, without timing; all of it where None.
        command: the command line to note in the run's record.

    Returns:
        The run as ``load_run`` reads it; of a shard, its own trials alone.

    Raises:
        ConfigError: where the data, the networks or the trainer of the config cannot be used; nothing was run.
        StoreError: where the run directory cannot be written to.
    """
    config = config or load_config()
    with closing(executor or build_executor("local", config, jobs)) as executor:
        timed = bool(config.measure.batch_sizes) and shard is None
        plan = plan_sweep(config, executor.machine() if timed else None)
        part = plan if shard is None else part_of(plan, shard)
        store = Store(Path(runs_dir) / config.name)

        def begin(work: _Work) -> Sequence[str]:
            return _write_run(config, plan, store, command, work.threads, whole=shard is None)

        _run_all(config, part, store, watcher or Watcher(), retry_failed, executor, begin)
    run = load_run(store.root)
    if shard is None:
        return run
    return Run(record=replace(run.record, trials=part.trials), trials=read_trials(store, part.trials))


def run_sensitivity(
    config: SweepConfig | None = None,
    *,
    runs_dir: str | Path = "runs",
    retry_failed: bool = False,
    watcher: Watcher | None = None,
    jobs: int = 1,
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
    with closing(executor or build_executor("local", config, jobs)) as executor:
        plan = plan_sensitivity(config, gather_facts(config))
        store = Store(Path(runs_dir) / config.name)
        _run_all(config, plan, store, watcher or Watcher(), retry_failed, executor, lambda _: ())
    records = (store.read(stage.kind, stage.key) for stage in plan.stages if stage.kind == "sensitivity")
    return tuple(record for record in records if record is not None)


MOST_PASSES = 10
"""What was made again and came out different is followed so far in one start; the next start would go on."""


def _run_all(
    config: SweepConfig,
    plan: Plan,
    store: Store,
    watcher: Watcher,
    retry_failed: bool,
    executor: Executor,
    begin: Callable[["_Work"], Sequence[str]],
) -> None:
    """Run what is left of a plan, and after that what is left where something was made again and came out different.

    ``begin`` is called when all was checked and nothing was run, and returns what a person should know.
    """
    started_at = datetime.now(UTC)
    settle(store)
    left: frozenset[str] = frozenset()
    for number in range(MOST_PASSES):
        with closing(_Work(config, plan, store, watcher, retry_failed and not number, executor)) as work:
            work.prepare()
            if work.is_needed and not number:
                note_start(store.root, started_at)
            work.carry_out(() if number else begin(work))
        settle(store)
        before, left = left, still_open(plan, store)
        if not left or left == before:
            return


class _Work:
    """What is left to do of a plan, and the executor that does it.

    Args:
        config: what the plan was made from.
        plan: the plan.
        store: where records are found; it was checked that they can be written.
        watcher: is told how the run goes on.
        retry_failed: whether stages that failed before are tried again.
        executor: where stages run.
    """

    def __init__(
        self, config: SweepConfig, plan: Plan, store: Store, watcher: Watcher, retry_failed: bool, executor: Executor
    ) -> None:
        self._config, self._plan, self._watcher, self._executor = config, plan, watcher, executor
        self._running: dict[str, Task] = {}
        self._gate = Gate(store, here=executor.here, idle=self._wait_for)
        self.threads = config.run.threads or executor.threads
        attempts: dict[str, int] = {}
        status = stage_status(plan, store)
        if retry_failed:
            attempts = _attempts(plan, status, store)
            status = {key: "done" if state == "done" else "pending" for key, state in status.items()}
        todo = [stage for stage in plan.stages if status[stage.key] == "pending"]
        self._again = set_damaged_aside(todo, status, plan, store)
        if self._again:
            status |= dict.fromkeys(self._again, "pending")
            todo = [stage for stage in plan.stages if status[stage.key] == "pending"]
        self._trains = any(stage.kind == "train" for stage in todo)
        self._setup = _setup_of(config, store, todo)
        self._graph = Graph(
            plan.stages,
            status,
            attempts,
            self._setup,
            threads=self.threads,
            gpu=config.train.device.startswith("cuda"),
            stage_seconds=config.run.stage_seconds,
        )

    @property
    def is_needed(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._graph.tasks)

    def prepare(self) -> None:
        """Check all that can be checked before any work, while workers start.

        Raises:
            ConfigError: with every problem found.
        """
        if not self._graph.tasks:
            return
        self._executor.open(self._setup, self._graph.most_at_once, self._gate.may_start)
        if self._trains:
            # Only now, with work to do, is torch worth its import.
            from sparsebench.runner.preflight import check_all

            check_all(self._config, workbench(self._setup))

    def carry_out(self, notes: Sequence[str]) -> None:
        """Submit what is ready, and what becomes ready, until nothing is left; ``notes`` are told before."""
        self._watcher.planned(self._plan, dict(self._graph.status))
        self._watcher.parallel(self._executor.slots)
        labels = {stage.key: f"{stage.kind} {stage.label}" for stage in self._plan.stages} if self._again else {}
        for text in (*notes, *(f"{labels[key]} is made again: {why}." for key, why in self._again.items())):
            self._watcher.noted(text)
        self._submit()
        while not self._graph.is_finished:
            for ended in self._executor.wait(self._tell):
                self._running.pop(ended.task.key)
                self._gate.ended(ended.task)
                self._graph.ended(ended.records)
                for stage, record in zip(ended.task.stages, ended.records, strict=True):
                    self._watcher.finished(stage, record)
            self._submit()

    def close(self) -> None:
        """End what still runs, and leave to other drivers what was not done."""
        self._executor.close()
        self._gate.close()
        forget()

    def _submit(self) -> None:
        """Submit all that is ready; tell of what turns out skipped."""
        while True:
            tasks, skipped = self._graph.ready()
            for stage in skipped:
                self._watcher.skipped(stage)
            for task in tasks:
                self._running[task.key] = task
                self._executor.submit(task)
            if not tasks and not skipped:
                return

    def _wait_for(self, who: str) -> None:
        self._watcher.said(f"sparsebench: waiting for {who}, which works in the same run directory.")

    def _tell(self, event: Event) -> None:
        if isinstance(event, Said):
            self._watcher.said(event.line)
            return
        task = self._running.get(event.key)
        if task is None:  # News of a task may come after its end, where they take another way.
            return
        match event:
            case Started():
                for stage in task.stages:
                    self._watcher.started(stage)
                if task.needs.exclusive:
                    self._watcher.together(task.stages)
            case Trained(epoch=epoch, epochs=epochs):
                self._watcher.epoch(task.stages[0], epoch, epochs)


def _attempts(plan: Plan, status: Mapping[str, StageStatus], store: Store) -> dict[str, int]:
    """Return how often each stage that failed was tried."""
    failed = [stage for stage in plan.stages if status[stage.key] == "failed"]
    return {stage.key: record.attempt for stage in failed if (record := store.read(stage.kind, stage.key))}


def _setup_of(config: SweepConfig, store: Store, todo: Sequence[Stage]) -> Setup:
    asked = [stage.settings["quantize"]["calibration_batches"] for stage in todo if stage.settings.get("quantize")]
    return Setup(
        root=store.root.absolute(),
        folder=Path.cwd(),
        device=config.train.device,
        how={key: getattr(config.train, key) for key in HOW_TRAINING_RUNS},
        calibration_batches=max(asked, default=1),
        hang_seconds=config.measure.hang_seconds,
    )


def _write_run(
    config: SweepConfig, plan: Plan, store: Store, command: str, threads: int | None, whole: bool
) -> tuple[str, ...]:
    """Note what the run is asked for, unless the same is noted already: who only looks at a run does not change it.

    Who runs the whole says on which machine it is timed; shards run on several, and time nothing.

    Returns:
        What a person should know where it goes on elsewhere than it was begun.
    """
    asked = config.model_dump(mode="json")
    here = describe_environment(threads)
    before = store.read_run_if_any()
    notes = moved(before.environment, here) if before else ()
    if before is not None and before.config == asked and (before.trials == plan.trials or not whole):
        return notes
    record = RunRecord(
        name=config.name,
        config=asked,
        command=command,
        sparsebench=__version__,
        trials=plan.trials,
        environment=here,
    )
    store.write_run(record)
    return notes
