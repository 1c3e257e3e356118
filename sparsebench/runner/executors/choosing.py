"""Which of the tasks that wait a worker takes next."""

from collections.abc import Collection

from sparsebench.runner.tasks import Task


def choose(waiting: Collection[Task], running: Collection[Task], affinity: str | None, has_gpu: bool) -> Task | None:
    """Return the task that an idle worker takes, or None where it had better wait.

    What uses the GPU goes first, for a GPU that idles costs most, and one such task runs at a time. Then comes the
    training that others start from, and the last trainings, fewer than there are workers: were they left to the end,
    workers would wait for them. Then come tasks of the network that the worker has in hand, then those of networks
    that no other has, in the order of the plan.
    An exclusive task waits until nothing else is left, so that the machine falls silent once, not again and again.

    Args:
        waiting: the tasks to choose from.
        running: what other workers of this machine run.
        affinity: that of the worker's last task.
        has_gpu: whether there is a GPU; what asks for one runs on the CPU otherwise.
    """
    if any(task.needs.exclusive for task in running):
        return None
    shared = [task for task in waiting if not task.needs.exclusive]
    if not shared:
        return min(waiting, key=lambda task: task.priority) if waiting and not running else None

    def on_gpu(task: Task) -> bool:
        return has_gpu and task.needs.gpu

    if any(map(on_gpu, running)):
        shared = [task for task in shared if not on_gpu(task)]
    in_hands = {task.affinity for task in running}
    few = sum(task.trains for task in shared) <= len(running)

    def rank(task: Task) -> tuple[bool, bool, bool, bool, int]:
        urgent = task.opens_training or (few and task.trains)
        return not on_gpu(task), not urgent, task.affinity != affinity, task.affinity in in_hands, task.priority

    return min(shared, key=rank, default=None)
