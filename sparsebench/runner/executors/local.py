"""The executor of one machine: worker processes for several jobs; for one, this process itself."""

import time
from bisect import insort
from collections.abc import Mapping, Sequence

from sparsebench.config import SweepConfig
from sparsebench.runner.executors import SECONDS_UNTIL_ASKED_AGAIN, Ended, Executor, MayStart, at_once
from sparsebench.runner.executors.pool import Pool
from sparsebench.runner.tasks import Setup, Task, Tell
from sparsebench.runner.work import carry_out, forget
from sparsebench.store.environment import available_cores


def build(config: SweepConfig, jobs: int | None) -> Executor:
    """Return the executor for so many jobs, one by default, each with its share of the cores.

    A task can only be ended with its process, so that a limit asks for a worker process even for one job.
    """
    jobs = jobs or 1
    if jobs > 1:
        return Pool(jobs, max(1, available_cores() // jobs))
    return InProcess() if config.run.stage_seconds is None else Pool(1, None)


class InProcess:
    """Runs tasks in the order of the plan, each with the whole machine; an interrupt is not held back.

    Attributes:
        threads: None, for torch takes all cores by itself.
        slots: one.
        here: true.
    """

    here = True

    def __init__(self) -> None:
        self.threads: int | None = None
        self.slots = 1
        self._waiting: list[Task] = []
        self._may_start: MayStart = at_once

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
