"""The executor of a Ray cluster: tasks run on its nodes, and the shared run directory is the only state.

Ray decides where a task runs, from the processors and GPUs that it asks for. Timing asks for all processors of one
node. What is lost with a node is submitted again; a driver that dies takes its tasks with it, and the next one finds in
the run directory what is done.
"""

import bisect
import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from sparsebench.config import RayConfig, SweepConfig
from sparsebench.errors import ConfigError, StoreError
from sparsebench.live.sending import packed
from sparsebench.runner.carry_out import forget, record_failure
from sparsebench.runner.executors import Ended, Executor, MayStart
from sparsebench.runner.executors.ray_cluster import Cluster, Node, cannot_run
from sparsebench.runner.executors.ray_worker import NEWS_SECONDS, Mailbox, carry_out_here
from sparsebench.runner.tasks import Said, Setup, Started, Task, Tell

POLL_SECONDS = 0.2

RETRY_SECONDS = 2.0
"""A task that was lost is tried again after so long times the square of its losses: Ray may take a while to see that a
node is gone, and would lose it there again."""

_REASONS = {
    **dict.fromkeys(("NodeDiedError", "LocalRayletDiedError", "TaskUnschedulableError"), "its node was lost"),
    "OutOfMemoryError": "its node ran out of memory, and its worker was killed",
    "WorkerCrashedError": "its worker died",
}


def build(config: SweepConfig, jobs: int | None) -> Executor:
    """Return the executor of a Ray cluster; refuse ``jobs``, for the cluster says how many tasks run at once."""
    if jobs is not None:
        problem = f"--jobs {jobs}: a Ray cluster runs as many tasks as it has room for; leave --jobs out."
        raise ConfigError("The run was not started:", [problem])
    return RayExecutor(config.ray)


@dataclass
class Running:
    """A task that Ray has; where it times, ``bench`` is the node that it has for itself.

    When Ray was given it, and when a worker said that it began, are times of this driver's monotonic clock.
    """

    task: Task
    bench: str | None
    submitted: float
    began: float | None = None


class Room:
    """How many more tasks Ray should be given now.

    Ray would take all at once. But what waits there can no longer be taken by another driver, nor be put behind what is
    ready later and stands earlier in the plan.
    """

    def __init__(self, config: RayConfig, cluster: Cluster, running: Sequence[Running]) -> None:
        nodes = cluster.nodes()
        self.gpus = sum(int(node.of("GPU") / config.gpus) for node in nodes)
        self.cpus = sum(int(node.of("CPU") / config.cpus) for node in nodes)
        self.benches = cluster.benches()
        busy = {one.bench for one in running}
        self._free = [node for node in self.benches if node.id not in busy]
        others = [one.task for one in running if not one.task.needs.exclusive]
        training = sum(self.on_gpu(task) for task in others)
        self._left = {True: self.gpus - training, False: self.cpus - (len(others) - training)}

    def on_gpu(self, task: Task) -> bool:
        """Whether a task is given a GPU: it wants one and the cluster has some."""
        return task.needs.gpu and self.gpus > 0

    def has(self, task: Task) -> bool:
        """Whether a task has its place."""
        return bool(self._free) if task.needs.exclusive else self._left[self.on_gpu(task)] > 0

    def take(self, task: Task) -> Node | None:
        """Take a place; return the node that the task has for itself, where it times."""
        if task.needs.exclusive:
            return self._free.pop()
        self._left[self.on_gpu(task)] -= 1
        return None

    def __bool__(self) -> bool:
        return bool(self._free) or any(left > 0 for left in self._left.values())


class RayExecutor:
    """Runs tasks on a Ray cluster, each with as many threads as the processors that it asks for.

    That a node is alone while it times is Ray's business. ``address`` is as ``Cluster`` takes it.
    """

    here = False

    def __init__(self, config: RayConfig, address: str | None = None) -> None:
        self.threads: int | None = config.cpus
        self._config, self._cluster = config, Cluster(config, address)
        self._waiting: list[Task] = []
        self._running: dict[Any, Running] = {}
        self._lost: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}

    @property
    def slots(self) -> int:
        """How many tasks may run at once: as many as the processors of all nodes are enough for."""
        if not self._cluster.connected:
            return 1
        return max(1, sum(int(node.of("CPU") / self._config.cpus) for node in self._cluster.nodes()))

    def machine(self) -> Mapping[str, str]:
        """Return the identity of the machines on which networks are timed; see ``Cluster.timing_machine``."""
        return self._cluster.timing_machine()

    def open(self, setup: Setup, most: int, may_start: MayStart) -> None:  # noqa: ARG002 - Ray starts workers
        """Connect to the cluster, or start one; refuse one that has less than tasks ask for."""
        self._cluster.check_resources(setup.device)
        self._may_start = may_start
        # The mailbox shares the driver's node, and its fate.
        options = {"num_cpus": 0, "scheduling_strategy": self._cluster.on(self._cluster.own_node)}
        self._mailbox: Any = self._cluster.ray.remote(Mailbox).options(**options).remote()
        self._news = self._mailbox.take.remote()
        self._objects = self._cluster.ray.put(packed(setup.live))

    def submit(self, task: Task) -> None:
        """Take a task; it goes to Ray once there is room for it."""
        # Ray shows a worker the GPUs that are its own, and numbers them from 0.
        device = "cuda:0" if task.setup.device.startswith("cuda") else task.setup.device
        self._wait_in_line(replace(task, setup=replace(task.setup, device=device)))

    def wait(self, tell: Tell) -> Sequence[Ended]:
        """Hand tasks to Ray and wait until at least one has ended; what is lost with its worker is tried again.

        Raises:
            SparsebenchError: where a node cannot do tasks of this run at all; else as ``Executor.wait``.
        """
        ended: list[Ended] = []
        while not ended:
            ended += self._hand_over()
            done = self._some_done()
            # A worker ends when the mailbox has its news, which may be later than what was asked for last.
            for patience in (NEWS_SECONDS, NEWS_SECONDS) if done else (0.0,):
                self._pass_on_news(tell, patience)
            for ref in done:
                ended += self._end(ref, tell)
            ended += self._end_overdue()
        return ended

    def close(self) -> None:
        """End all tasks of this driver."""
        if self._cluster.connected:
            for ref in self._running:
                self._cancel(ref)
        self._running.clear()
        self._mailbox = self._news = self._objects = None
        self._cluster.close()
        forget()  # What was checked here before any work.

    # -- tasks to Ray -------------------------------------------------------------------------------------------------

    def _wait_in_line(self, task: Task) -> None:
        bisect.insort(self._waiting, task, key=attrgetter("priority"))

    def _hand_over(self) -> list[Ended]:
        """Give Ray as many tasks as there is room for; return those that no node can do."""
        room, now = Room(self._config, self._cluster, list(self._running.values())), time.monotonic()
        stay: list[Task] = []
        ended: list[Ended] = []
        for place, task in enumerate(self._waiting):
            if task.needs.exclusive and not room.benches:
                text = (
                    f"No node with resource {self._config.measure_resource!r} is left in the cluster; start one and "
                    "run again with --retry-failed."
                )
                ended.append(Ended(task, record_failure(task, text, 0.0)))
            elif not room:
                stay += self._waiting[place:]
                break
            elif room.has(task) and self._not_before.get(task.key, now) <= now and self._may_start(task):
                self._send(task, room.take(task), room.on_gpu(task))
            else:
                stay.append(task)
        self._waiting = stay
        return ended

    def _send(self, task: Task, bench: Node | None, on_gpu: bool) -> None:
        """Submit a task; on ``bench``, it has all processors of that node for itself."""
        options: dict[str, Any] = {"max_retries": 0, "name": str(task.stages[0])}
        if bench is None:
            options |= {"num_cpus": self._config.cpus, "num_gpus": self._config.gpus if on_gpu else 0}
        else:
            wanted = self._config.measure_resource
            options["resources"] = {wanted: bench.of(wanted)} if wanted else {}
            options |= {"num_cpus": bench.of("CPU"), "scheduling_strategy": self._cluster.on(bench.id)}
        work = self._cluster.ray.remote(carry_out_here).options(**options)
        ref = work.remote(task, self._mailbox, self._cluster.origin, self._objects)
        self._running[ref] = Running(task, bench.id if bench else None, time.monotonic())

    # -- tasks back from Ray ------------------------------------------------------------------------------------------

    def _some_done(self) -> list[Any]:
        if not self._running:
            time.sleep(POLL_SECONDS)
            return []
        ray, refs = self._cluster.ray, list(self._running)
        done, left = ray.wait(refs, num_returns=1, timeout=POLL_SECONDS)
        if done and left:
            done += ray.wait(left, num_returns=len(left), timeout=0)[0]
        return list(done)

    def _pass_on_news(self, tell: Tell, patience: float) -> None:
        ray = self._cluster.ray
        ready, _ = ray.wait([self._news], timeout=patience)
        if not ready:
            return
        running = {one.task.key: one for one in self._running.values()}
        # Should the mailbox be lost, the run goes on without news.
        with contextlib.suppress(ray.exceptions.RayError):
            for event in ray.get(self._news):
                # News may come later than the end of what they are about.
                if event.key not in running:
                    continue
                if isinstance(event, Started):
                    running[event.key].began = time.monotonic()
                tell(event)
        self._news = self._mailbox.take.remote()

    def _end(self, ref: Any, tell: Tell) -> list[Ended]:
        """Return what became of a task; nothing where it is tried again."""
        exceptions = self._cluster.ray.exceptions
        running = self._running.pop(ref)
        try:
            found = self._cluster.ray.get(ref)
        except exceptions.RayTaskError as error:
            raise cannot_run(error) from error
        except exceptions.RayError as error:
            return self._try_again(running, error, tell)
        if isinstance(found, str):
            raise StoreError(found)
        return [Ended(running.task, found)]

    def _try_again(self, running: Running, error: Exception, tell: Tell) -> list[Ended]:
        task, why, allowed = running.task, _reason(error), self._config.retries
        self._lost[task.key] += 1
        lost = self._lost[task.key]
        if lost <= allowed:
            self._not_before[task.key] = time.monotonic() + RETRY_SECONDS * lost**2
            tell(Said(f"{task.stages[0]}: {why}; it is tried again ({lost} of {allowed} times)."))
            self._wait_in_line(task)
            return []
        text = (
            f"{why[0].upper()}{why[1:]} while it ran this stage, {lost} times in all, and ray.retries is {allowed}. "
            "To try again, run with --retry-failed."
        )
        return [Ended(task, record_failure(task, text, time.monotonic() - running.submitted, str(error)))]

    def _end_overdue(self) -> list[Ended]:
        now, ended = time.monotonic(), []
        for ref, running in list(self._running.items()):
            limit = running.task.limit_seconds
            if limit is None or running.began is None or now - running.began <= limit:
                continue
            self._cancel(ref)
            del self._running[ref]
            records = record_failure(running.task, running.task.over_limit, now - running.began)
            ended.append(Ended(running.task, records))
        return ended

    def _cancel(self, ref: Any) -> None:
        with contextlib.suppress(Exception):
            self._cluster.ray.cancel(ref, force=True)


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    return _REASONS.get(kind, f"its worker was lost ({kind})")
