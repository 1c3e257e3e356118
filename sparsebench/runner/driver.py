"""A driver: what is left to do of a plan, and the executor that does it."""

from collections.abc import Sequence
from pathlib import Path

from sparsebench.config import HOW_TRAINING_RUNS, SweepConfig
from sparsebench.runner.carry_out import workbench
from sparsebench.runner.crowding import crowding
from sparsebench.runner.executors import Executor
from sparsebench.runner.facts import live_of, own_of_config
from sparsebench.runner.graph import Graph, StageStatus, stage_status
from sparsebench.runner.machine_limits import refuse_too_many
from sparsebench.runner.plan import Plan, Stage
from sparsebench.runner.repair import set_damaged_aside
from sparsebench.runner.sharing.waiting import Gate
from sparsebench.runner.tasks import Event, Noted, Said, Setup, Started, Task, Timed, Trained
from sparsebench.runner.watcher import Watcher
from sparsebench.store.run_directory import Store
from sparsebench.user_code import own_code


class Driver:
    """Goes once through what is left to do of a plan, which was made from the config.

    ``threads`` are those of torch of each task; None for as many as a worker has. ``check`` is whether one real batch
    goes the whole way before any work. ``untrained`` are the keys of the trainings that are left to do.
    """

    def __init__(
        self,
        config: SweepConfig,
        plan: Plan,
        store: Store,
        watcher: Watcher,
        retry_failed: bool,
        executor: Executor,
        check: bool = True,
    ) -> None:
        self._config, self._plan, self._watcher, self._executor = config, plan, watcher, executor
        self._check = check
        self._running: dict[str, Task] = {}
        self._gate = Gate(store, here=executor.here, idle=self._say_who_is_awaited)
        self.threads = config.run.threads or executor.threads
        attempts: dict[str, int] = {}
        status = stage_status(plan, store)
        if retry_failed:
            failed = [stage for stage in plan.stages if status[stage.key] == "failed"]
            attempts = {one.key: record.attempt for one in failed if (record := store.believed(one.kind, one.key))}
            status = {key: "done" if state == "done" else "pending" for key, state in status.items()}
        self._again = set_damaged_aside(_pending(plan, status), status, plan, store)
        status |= dict.fromkeys(self._again, "pending")
        todo = _pending(plan, status)
        self.untrained = [stage.key for stage in todo if stage.kind == "train"]
        self._setup = _setup_of(config, store, plan.stages)
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

    @property
    def crowding(self) -> tuple[str, ...]:
        """What a person should know where there is work for more threads than this machine has cores."""
        here = self.is_needed and self._executor.here
        return crowding(self._config, self._executor.slots, self.threads) if here else ()

    def prepare(self) -> None:
        """Check all that can be checked before any work, while workers start; see ``preflight``."""
        if not self.is_needed:
            return
        if self._executor.here:
            refuse_too_many(self._config, self._executor.slots)
        self._executor.open(self._setup, self._graph.most_at_once, self._gate.may_start)
        if self.untrained and self._check:
            # Only now, with work to do, is torch worth its import.
            from sparsebench.runner.preflight import check_all

            with own_code(*own_of_config(self._config)):
                check_all(self._config, workbench(self._setup))

    def carry_out(self, notes: Sequence[str]) -> None:
        """Submit what is ready, and what becomes ready, until nothing is left; ``notes`` are told before."""
        self._watcher.planned(self._plan, dict(self._graph.status))
        self._watcher.parallel(self._executor.slots)
        again = {stage.key: stage for stage in self._plan.stages if stage.key in self._again}
        for text in (*notes, *(f"{again[key]} is made again: {why}." for key, why in self._again.items())):
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

    def _submit(self) -> None:
        while True:
            tasks, skipped = self._graph.ready()
            for stage in skipped:
                self._watcher.skipped(stage)
            for task in tasks:
                self._running[task.key] = task
                self._executor.submit(task)
            if not tasks and not skipped:
                return

    def _say_who_is_awaited(self, who: str) -> None:
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
            case Timed(text=text):
                self._watcher.timed(task.stages, text)
            case Noted(text=text):
                self._watcher.noted(text)


def _pending(plan: Plan, status: dict[str, StageStatus]) -> list[Stage]:
    return [stage for stage in plan.stages if status[stage.key] == "pending"]


def _setup_of(config: SweepConfig, store: Store, stages: Sequence[Stage]) -> Setup:
    # Of all stages, done or not: plans that follow one another then find their workers as they left them.
    asked = [stage.settings["quantize"]["calibration_batches"] for stage in stages if stage.settings.get("quantize")]
    return Setup(
        root=store.root.absolute(),
        folder=Path.cwd(),
        device=config.train.device,
        how={key: getattr(config.train, key) for key in HOW_TRAINING_RUNS},
        calibration_batches=max(asked, default=1),
        hang_seconds=config.measure.hang_seconds,
        live=live_of(config),
    )
