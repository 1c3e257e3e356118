"""The executor of one machine with several jobs: worker processes that are started once and keep what they load."""

import math
import time
from collections.abc import Mapping, Sequence
from multiprocessing import connection

from sparsebench.errors import SparsebenchError, StoreError
from sparsebench.processes import starter
from sparsebench.runner.executors import SECONDS_UNTIL_ASKED_AGAIN, Ended, MayStart, at_once
from sparsebench.runner.executors.choosing import choose
from sparsebench.runner.executors.limits import over_limit
from sparsebench.runner.executors.process import Worker
from sparsebench.runner.executors.worker import Answer, Broken, Ready
from sparsebench.runner.tasks import Said, Setup, Started, Task, Tell, Trained
from sparsebench.runner.work import record_failure
from sparsebench.store.records import Failure

_SECONDS_TO_END = 3.0
"""What a worker has to unwind before it is killed."""

_MOST_FAILED_STARTS = 3
_MESSAGES_AT_ONCE = 1000


class Pool:
    """Runs as many tasks at once as there are jobs, each in a worker process with its share of the cores.

    Which worker takes which task is said in ``choosing``.

    Args:
        jobs: how many tasks run at once.
        threads: threads of each task; None for as many as torch takes by itself.

    Attributes:
        threads: the same.
        slots: ``jobs``.
        here: true.
    """

    here = True

    def __init__(self, jobs: int, threads: int | None) -> None:
        self.threads = threads
        self.slots = jobs
        self._setup: Setup | None = None
        self._waiting: list[Task] = []
        self._workers: list[Worker] = []
        self._failed_starts = 0
        self._may_start: MayStart = at_once
        self._refused = False

    def machine(self) -> Mapping[str, str] | None:
        """Return None, for it times on this machine."""
        return None

    def open(self, setup: Setup, most: int, may_start: MayStart) -> None:
        """Start workers, as many as there can be work for at once, where that takes long; else they start with work."""
        self._setup, self._may_start = setup, may_start
        if starter().is_quick:
            # What they import takes as long as the checks that come before any work.
            starter().get_ready()
        else:
            self._start(min(self.slots, most))

    def submit(self, task: Task) -> None:
        """Take a task; it is handed out by ``wait``."""
        self._waiting.append(task)

    def wait(self, tell: Tell) -> Sequence[Ended]:
        """Hand out tasks and listen to workers until at least one task has ended.

        Raises:
            StoreError: where a record or an artifact cannot be written.
            SparsebenchError: where workers die before they begin with anything.
        """
        ended: list[Ended] = []
        while not ended:
            self._hand_out()
            signs = [sign for worker in self._workers for sign in (worker.channel, worker.sentinel)]
            raised = set(connection.wait(signs, self._patience()))
            for worker in list(self._workers):
                if worker.channel in raised or worker.sentinel in raised:
                    ended += self._listen(worker, tell)
                if worker in self._workers and worker.seconds_left() <= 0:
                    ended.append(self._over_limit(worker))
        return ended

    def close(self) -> None:
        """End all workers: each has a few seconds to unwind, then it is killed with all that it started."""
        workers, self._workers = self._workers, []
        self._waiting.clear()
        _end(workers)

    def _start(self, workers: int) -> None:
        assert self._setup is not None  # noqa: S101 - open was called
        while len(self._workers) < workers:
            self._workers.append(Worker(self._setup))

    def _patience(self) -> float | None:
        """Return for how long nothing need be looked at unless a worker makes a sign."""
        left = min((worker.seconds_left() for worker in self._workers), default=math.inf)
        if self._refused:
            left = min(left, SECONDS_UNTIL_ASKED_AGAIN)
        return None if math.isinf(left) else max(0.0, left)

    def _hand_out(self) -> None:
        """Give waiting tasks to idle workers, and see that there are workers enough."""
        self._refused = False
        for worker in self._workers:
            task = self._next_of(worker) if worker.is_idle else None
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
        """Return the task that an idle worker takes, None where there is none that may start now."""
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
        """Take in all that a worker says, and how it ended if it did."""
        ended: list[Ended] = []
        heard = 0
        try:
            # A worker that never stops talking must not keep the others waiting.
            while worker.channel.poll() and (heard < _MESSAGES_AT_ONCE or worker.is_dead):
                message = worker.channel.recv()
                heard += 1
                worker.note(message)
                match message:
                    case Answer(records):
                        ended.append(Ended(worker.take(), records))
                    case Started() | Trained() | Said():
                        tell(message)
                    case Ready():
                        self._failed_starts = 0
                    case Broken(text, details, storage):
                        error = StoreError(text) if storage else SparsebenchError(text)
                        error.add_note(f"In the worker process:\n{details}")
                        raise error
        except (EOFError, ConnectionError):
            worker.join(_SECONDS_TO_END)
            worker.kill()
        if worker.is_dead and (worker.is_closed or not worker.channel.poll()):
            ended += self._dead(worker)
        return ended

    def _dead(self, worker: Worker) -> list[Ended]:
        """Bury a worker; its task has failed."""
        self._workers.remove(worker)
        worker.kill()
        if worker.task is not None:
            hint = " The system may have run out of memory: run fewer jobs at once." if worker.exit_code == -9 else ""
            text = f"The worker process died while it ran this stage ({worker.end}).{hint}"
            return [_failed(worker, f"{text} To try again, run with --retry-failed.")]
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS:
                raise SparsebenchError(
                    f"Worker processes die before they begin with anything ({worker.end}); what they wrote stands "
                    "above. Mend the cause, or run with --jobs 1, which needs none."
                )
        return []

    def _over_limit(self, worker: Worker) -> Ended:
        """End a worker whose task runs for too long, which has failed by that."""
        self._workers.remove(worker)
        _end([worker])
        assert worker.task is not None  # noqa: S101 - only tasks have limits
        return _failed(worker, over_limit(worker.task))


def _failed(worker: Worker, text: str) -> Ended:
    seconds = worker.seconds_at_task()
    task = worker.take()
    failure = Failure(error="WorkerError", message=text, traceback=worker.last_words)
    return Ended(task, record_failure(task, failure, seconds))


def _end(workers: Sequence[Worker]) -> None:
    """Ask workers to end, and kill those that do not within seconds, also where this is interrupted."""
    try:
        for worker in workers:
            worker.ask_to_end()
        deadline = time.monotonic() + _SECONDS_TO_END
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
    finally:
        for worker in workers:
            worker.kill()
