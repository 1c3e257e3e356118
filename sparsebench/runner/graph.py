"""The stages that are left of a plan as a graph of tasks: which of them may run, as others end."""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sparsebench.runner.plan import Plan, Stage, training_of
from sparsebench.runner.tasks import Needs, Setup, Task
from sparsebench.store.records import StageRecord
from sparsebench.store.run_directory import Store

StageStatus = Literal["done", "failed", "skipped", "pending"]


def stage_status(plan: Plan, store: Store) -> dict[str, StageStatus]:
    """Return where each stage of the plan stands in the store, by key."""
    status: dict[str, StageStatus] = {}
    standings = store.standings((stage.kind, stage.key) for stage in plan.stages)
    for stage in plan.stages:
        standing = standings.get(stage.key)
        if standing == "done" or standing == "failed":
            status[stage.key] = standing
        else:
            blocked = stage.parent and status[stage.parent] in ("failed", "skipped")
            status[stage.key] = "skipped" if blocked else "pending"
    return status


def _together(stage: Stage) -> str:
    """Return what stages that are run together have in common: a session, or the network that they evaluate."""
    match stage.kind:
        case "measure":
            return stage.session
        case "evaluate":
            return f"evaluate {stage.parent}"
        case _:
            return stage.key


@dataclass
class _Group:
    """Stages that are run together, and the stages that must have ended before."""

    stages: list[Stage] = field(default_factory=list)
    priority: int = 0
    waits_for: set[str] = field(default_factory=set)


class Graph:
    """Hands out tasks when all that they build on has ended. What builds on a failed stage is skipped.

    Args:
        stages: all stages of the plan, in its order.
        status: where each of them stands, by key; it is kept up to date. The pending ones are left to do.
        attempts: how often those that failed before were tried, by key.
        setup: what workers build their benches from.
        threads: as in ``Needs``.
        gpu: whether the config asks for a GPU to train on.
        stage_seconds: limit of a stage; stages that are timed together have as many times that. None for no limit.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        status: dict[str, StageStatus],
        attempts: Mapping[str, int],
        setup: Setup,
        *,
        threads: int | None = None,
        gpu: bool = False,
        stage_seconds: float | None = None,
    ) -> None:
        self.status = status
        self._by_key = {stage.key: stage for stage in stages}
        self._attempts, self._setup, self._threads = attempts, setup, threads
        self._gpu, self._stage_seconds = gpu, stage_seconds
        self._groups = self._grouped(stages)
        self._followers: dict[str, list[_Group]] = defaultdict(list)
        for group in self._groups:
            for key in group.waits_for:
                self._followers[key].append(group)
        self._free = deque(group for group in self._groups if not group.waits_for)
        self._handed_out = 0

    @property
    def tasks(self) -> int:
        """How many tasks there were to do at the beginning."""
        return len(self._groups)

    @property
    def most_at_once(self) -> int:
        """How many tasks can run at once at most: those that are timed need a machine for themselves."""
        return max(1, sum(group.stages[0].kind != "measure" for group in self._groups))

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left: all that was handed out has ended, and nothing new may run."""
        return not self._free and not self._handed_out

    def ready(self) -> tuple[list[Task], list[Stage]]:
        """Return the tasks that may run now and were not returned before, and the stages that now turn out skipped."""
        tasks, skipped = [], []
        while self._free:
            group = self._free.popleft()
            blocked = [stage for stage in group.stages if stage.parent and self.status[stage.parent] != "done"]
            for stage in blocked:
                self._settle(stage.key, "skipped")
            skipped += blocked
            left = [stage for stage in group.stages if self.status[stage.key] == "pending"]
            if left:
                tasks.append(self._task(left, group.priority))
        self._handed_out += len(tasks)
        return tasks, skipped

    def ended(self, records: Iterable[StageRecord]) -> None:
        """Take the records of a task that was handed out."""
        self._handed_out -= 1
        for record in records:
            self._settle(record.key, record.status)

    def _settle(self, key: str, status: StageStatus) -> None:
        self.status[key] = status
        for group in self._followers.pop(key, ()):
            group.waits_for.discard(key)
            if not group.waits_for:
                self._free.append(group)

    def _grouped(self, stages: Sequence[Stage]) -> list[_Group]:
        """Return what is left to do; stages that are timed together take the place of the last of them."""
        groups: dict[str, _Group] = {}
        for place, stage in enumerate(stages):
            if self.status[stage.key] != "pending":
                continue
            name = _together(stage)
            group = groups.setdefault(name, _Group())
            group.stages.append(stage)
            group.priority = place
            wanted = (*filter(None, [stage.parent]), *stage.baselines)
            group.waits_for.update(key for key in wanted if self.status.get(key) == "pending")
        return list(groups.values())

    def _task(self, stages: Sequence[Stage], priority: int) -> Task:
        first, limit = stages[0], self._stage_seconds
        trains = first.kind == "train" or "qat" in first.settings
        return Task(
            stages=tuple(stages),
            attempts=tuple(self._attempts.get(stage.key, 0) for stage in stages),
            setup=self._setup,
            needs=Needs(threads=self._threads, gpu=self._gpu and trains, exclusive=first.kind == "measure"),
            priority=priority,
            affinity=training_of(first, self._by_key),
            trains=trains,
            opens_training=any(group.stages[0].kind == "train" for group in self._followers.get(first.key, ())),
            limit_seconds=None if limit is None else limit * len(stages),
        )
