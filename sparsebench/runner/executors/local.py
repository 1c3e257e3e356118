"""The executor of one machine: worker processes for several jobs; for one, this process itself."""

import math
import time
from bisect import insort
from collections.abc import Collection, Mapping, Sequence
from multiprocessing import connection

from sparsebench.config import SweepConfig
from sparsebench.errors import SparsebenchError, StoreError
from sparsebench.processes import IS_QUICK, get_ready, how_it_ended
from sparsebench.runner.carry_out import carry_out, forget, record_failure
from sparsebench.runner.executors import SECONDS_UNTIL_ASKED_AGAIN, Ended, Executor, MayStart
from sparsebench.runner.executors.worker import Answer, Broken, Ready, Worker
from sparsebench.runner.tasks import News, Said, Setup, Task, Tell
from sparsebench.store.environment import available_cores

_SECONDS_TO_END = 3.0
"""What a worker has to unwind before it is killed."""

_MOST_FAILED_STARTS = 3
_MESSAGES_AT_ONCE = 1000


def build(config: SweepConfig, jobs: int | None) -> Executor:
    """Return the executor for so many jobs, one by default, each with its share of the cores.

    A task can only be ended with its process, so that a limit asks for a worker process even for one job.
    """
    jobs = jobs or 1
    if jobs > 1:
        return Pool(jobs, max(1, available_cores() // jobs))
    return InProcess() if config.run.stage_seconds is None else Pool(1, None)


class InProcess:
    """Runs tasks in the order of the plan, each with the whole machine; an interrupt is not held back."""

    threads: int | None = None  # Torch takes all cores by itself.
    slots = 1
    here = True

    def __init__(self) -> None:
        self._waiting: list[Task] = []

    def machine(self) -> Mapping[str, str] | None:
        """Return None, for it times on this machine."""
        return None

    def open(self, setup: Setup, most: int, may_start: MayStart) -> None:  # noqa: ARG002 - for those with workers
        """Note who is to be asked; this process is there already."""
        self._may_start = may_start

    def submit(self, task: Task) -> None:
        """Keep a task until its turn comes."""
        # No two tasks have the same priority.
        insort(self._waiting, task, key=lambda waiting: waiting.priority)

    def wait(self, tell: Tell) -> Sequence[Ended]:
        """Do the next task now."""
        while True:
            for task in self._waiting:
                if self._may_start(task):
                    self._waiting.remove(task)
                    return [Ended(task, carry_out(task, tell))]
            time.sleep(SECONDS_UNTIL_ASKED_AGAIN)

    def close(self) -> None:
        """Let go of what was loaded."""
        self._waiting.clear()
        forget()


class Pool:
    """Runs as many tasks at once as there are jobs, each in a worker process with its share of the cores."""

    here = True

    def __init__(self, jobs: int, threads: int | None) -> None:
        self.threads, self.slots = threads, jobs
        self._waiting: list[Task] = []
        self._workers: list[Worker] = []
        self._failed_starts = 0
        self._refused = False

    def machine(self) -> Mapping[str, str] | None:
        """Return None, for it times on this machine."""
        return None

    def open(self, setup: Setup, most: int, may_start: MayStart) -> None:
        """Start workers, as many as there can be work for at once, where that takes long; else they start with work."""
        self._setup, self._may_start = setup, may_start
        if IS_QUICK:
            # What they import takes as long as the checks that come before any work.
            get_ready()
        else:
            self._start(min(self.slots, most))

    def submit(self, task: Task) -> None:
        """Take a task; it is handed out by ``wait``."""
        self._waiting.append(task)

    def wait(self, tell: Tell) -> Sequence[Ended]:
        """Hand out tasks and listen to workers until at least one task has ended.

        Raises:
            SparsebenchError: where workers die before they begin with anything; else as ``Executor.wait``.
        """
        ended: list[Ended] = []
        while not ended:
            self._hand_out()
            signs = [sign for worker in self._workers for sign in (worker.channel, worker.process.sentinel)]
            raised = set(connection.wait(signs, self._patience()))
            for worker in list(self._workers):
                if worker.channel in raised or worker.process.sentinel in raised:
                    ended += self._listen(worker, tell)
                if worker in self._workers and worker.task and worker.seconds_left() <= 0:
                    self._workers.remove(worker)
                    _end([worker])
                    ended.append(_failed(worker, worker.task.over_limit))
        return ended

    def close(self) -> None:
        """End all workers: each has a few seconds to unwind, then it is killed with all that it started."""
        workers, self._workers = self._workers, []
        self._waiting.clear()
        forget()  # What was checked here before any work.
        _end(workers)

    def _start(self, workers: int) -> None:
        while len(self._workers) < workers:
            self._workers.append(Worker(self._setup))

    def _patience(self) -> float | None:
        left = min((worker.seconds_left() for worker in self._workers), default=math.inf)
        if self._refused:
            left = min(left, SECONDS_UNTIL_ASKED_AGAIN)
        return None if math.isinf(left) else max(0.0, left)

    def _hand_out(self) -> None:
        self._refused = False
        for worker in self._workers:
            task = self._next_of(worker) if worker.ready and worker.task is None else None
            if task is None:
                continue
            self._waiting.remove(task)
            if task.needs.exclusive:
                # Nothing is left for the others, and their memory is of more use to what is timed.
                others, self._workers = [other for other in self._workers if other is not worker], [worker]
                _end(others)
            worker.give(task)
            if task.needs.exclusive:
                return
        running = self._running()
        shared = sum(not task.needs.exclusive for task in self._waiting)
        if not any(task.needs.exclusive for task in running):
            self._start(min(self.slots, max(len(running) + shared, 1)))

    def _next_of(self, worker: Worker) -> Task | None:
        shared = [task for task in self._waiting if not task.needs.exclusive]
        candidates = shared or list(self._waiting)
        while task := choose(candidates, self._running(), worker.affinity, worker.gpu):
            if self._may_start(task):
                return task
            self._refused = True
            candidates.remove(task)
        return None

    def _running(self) -> list[Task]:
        return [worker.task for worker in self._workers if worker.task]

    def _listen(self, worker: Worker, tell: Tell) -> list[Ended]:
        ended: list[Ended] = []
        heard = 0
        try:
            # A worker that never stops talking must not keep the others waiting.
            while worker.channel.poll() and (heard < _MESSAGES_AT_ONCE or not worker.process.is_alive()):
                message = worker.channel.recv()
                heard += 1
                worker.note(message)
                match message:
                    case Answer(records):
                        ended.append(Ended(worker.take(), records))
                    case News() | Said():
                        tell(message)
                    case Ready():
                        self._failed_starts = 0
                    case Broken(text, details, storage):
                        error = StoreError(text) if storage else SparsebenchError(text)
                        error.add_note(f"In the worker process:\n{details}")
                        raise error
        except (EOFError, ConnectionError):
            worker.process.join(_SECONDS_TO_END)
            worker.kill()
        if not worker.process.is_alive() and (worker.channel.closed or not worker.channel.poll()):
            ended += self._dead(worker)
        return ended

    def _dead(self, worker: Worker) -> list[Ended]:
        """Bury a worker; its task has failed."""
        self._workers.remove(worker)
        worker.kill()
        code = worker.process.exitcode
        if worker.task is not None:
            hint = " The system may have run out of memory: run fewer jobs at once." if code == -9 else ""
            text = f"The worker process died while it ran this stage ({how_it_ended(code)}).{hint}"
            return [_failed(worker, f"{text} To try again, run with --retry-failed.")]
        self._failed_starts += not worker.ready
        if self._failed_starts >= _MOST_FAILED_STARTS:
            raise SparsebenchError(
                f"Worker processes die before they begin with anything ({how_it_ended(code)}); what they wrote stands "
                "above. Mend the cause, or run with --jobs 1, which needs none."
            )
        return []


def _failed(worker: Worker, text: str) -> Ended:
    task, seconds = worker.take(), worker.seconds_at_task()
    return Ended(task, record_failure(task, text, seconds, worker.last_words))


def _end(workers: Sequence[Worker]) -> None:
    """Ask workers to end, and kill those that do not within seconds, also where this is interrupted."""
    try:
        for worker in workers:
            worker.process.terminate()
        deadline = time.monotonic() + _SECONDS_TO_END
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for worker in workers:
            worker.kill()


def choose(waiting: Collection[Task], running: Collection[Task], affinity: str | None, has_gpu: bool) -> Task | None:
    """Return the task that an idle worker takes, or None where it had better wait.

    What uses the GPU goes first, for a GPU that idles costs most, and one such task runs at a time. Then comes the
    training that others start from, and the last trainings, fewer than there are workers: were they left to the end,
    workers would wait for them. Then come tasks of the network that the worker has in hand, then those of networks
    that no other has, in the order of the plan.
    An exclusive task waits until nothing else is left, so that the machine falls silent once, not again and again.
    ``running`` is what other workers of this machine do, ``affinity`` that of the worker's last task.
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
