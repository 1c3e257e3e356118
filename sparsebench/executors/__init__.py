"""Where tasks run. The runner submits what is ready, and waits; an executor decides what runs where, and when.

A task is carried out by ``sparsebench.work.carry_out`` in whichever process: it finds all it needs in the run directory
and commits its records there. What comes back is only a copy, and an executor has no state that a run depends on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sparsebench.records import StageRecord
from sparsebench.tasks import Setup, Task, Tell


@dataclass(frozen=True)
class Ended:
    """A task that is no longer in the executor, and the record of each of its stages, done or failed."""

    task: Task
    records: Sequence[StageRecord]


class Executor(Protocol):
    """Runs tasks. All methods are called from one thread, in this order: open, any of submit and wait, close.

    Attributes:
        threads: threads that each task should have where the config does not say; None for as many as torch takes.
        slots: how many tasks may run at once, for the forecast of the time left.
    """

    threads: int | None
    slots: int

    def open(self, setup: Setup, most: int) -> None:
        """Make ready for tasks of ``setup``, at most ``most`` of them at once; return without waiting for it.

        Called before anything is checked, so that workers start meanwhile. Nothing may be run yet.
        """
        ...

    def submit(self, task: Task) -> None:
        """Take a task that may run at once, and return."""
        ...

    def wait(self, tell: Tell) -> Sequence[Ended]:
        """Go on until at least one task has ended, and return those that have; tell of the others meanwhile.

        A worker that dies, or a task that is over its limit, is an ended task with failed records
        (``sparsebench.work.record_failure`` writes them), not an error.

        Raises:
            StoreError: where a record or an artifact cannot be written; there is nowhere to record that.
        """
        ...

    def close(self) -> None:
        """End all workers within seconds, whatever they do. Called in any case, also after an interrupt."""
        ...
