"""How much work Ray is given at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.config import RayConfig
from sparsebench.runner.executors.ray_cluster import Cluster, Node
from sparsebench.runner.tasks import Task


@dataclass
class Running:
    """A task that Ray has.

    Attributes:
        task: the task.
        bench: the node that it has for itself, where it times.
        submitted: when Ray was given it, on this driver's monotonic clock.
        began: when a worker said that it began, on the same clock.
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
