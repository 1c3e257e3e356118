"""Where tasks run. The runner submits what is ready, and waits; an executor decides what runs where, and when.

A task is carried out by ``sparsebench.runner.carry_out`` in whichever process: it finds all it needs in the run
directory and commits its records there. What comes back is only a copy, and an executor has no state that a run depends
on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from sparsebench.config import SweepConfig
from sparsebench.errors import SparsebenchError
from sparsebench.runner.tasks import Setup, Task, Tell
from sparsebench.store.records import StageRecord

MayStart = Callable[[Task], bool]
"""Whether a task may begin now; not while another driver on the same run directory is at it, for example."""


SECONDS_UNTIL_ASKED_AGAIN = 1.0
"""How often ``may_start`` is asked again for a task that might not start."""


@dataclass(frozen=True)
class Ended:
    """A task that is no longer in the executor, and the record of each of its stages, done or failed."""

    task: Task
    records: Sequence[StageRecord]


class Executor(Protocol):
    """Runs tasks. All methods are called from one thread, in this order: open, any of submit and wait, close.

    A closed one may be opened again: what was made again may leave more to do.

    Attributes:
        threads: threads that each task should have where the config does not say; None for as many as torch takes.
        here: whether tasks run on this machine alone. Otherwise the executor itself keeps what times alone.
    """

    threads: int | None
    here: bool

    @property
    def slots(self) -> int:
        """How many tasks may run at once, for the forecast of the time left."""
        ...

    def machine(self) -> Mapping[str, str] | None:
        """Return the identity of the machine that times, None for this one. May be called before ``open``."""
        ...

    def open(self, setup: Setup, most: int, may_start: MayStart) -> None:
        """Make ready for tasks of ``setup``, at most ``most`` of them at once; return without waiting for it.

        Called before anything is checked, so that workers start meanwhile. Nothing may be run yet.

        Args:
            setup: that of all tasks to come.
            most: how many tasks there can be at once.
            may_start: is asked right before a task begins. A task that may not is kept, and asked for again later.
        """
        ...

    def submit(self, task: Task) -> None:
        """Take a task that may run at once, and return."""
        ...

    def wait(self, tell: Tell) -> Sequence[Ended]:
        """Go on until at least one task has ended, and return those that have; tell of the others meanwhile.

        A worker that dies, or a task that is over its limit, is an ended task with failed records
        (``sparsebench.runner.carry_out.record_failure`` writes them), not an error.

        Raises:
            StoreError: where a record or an artifact cannot be written; there is nowhere to record that.
        """
        ...

    def close(self) -> None:
        """End all workers within seconds, whatever they do. Called in any case, also after an interrupt."""
        ...


EXECUTORS: Mapping[str, str] = {
    "local": "sparsebench.runner.executors.local:build",
    "ray": "sparsebench.runner.executors.ray:build",
}
"""Where each executor is built, by its name: a function of the config and of how many tasks may run at once."""


def build_executor(name: str, config: SweepConfig, jobs: int | None = None) -> Executor:
    """Return an executor by its name.

    Args:
        name: one of ``EXECUTORS``.
        config: how its tasks are to be run.
        jobs: how many tasks may run at once, at least 1; None for what the executor takes by itself.

    Raises:
        SparsebenchError: where there is no such executor, or what it needs is not installed.
    """
    if name not in EXECUTORS:
        raise SparsebenchError(f"Executor {name!r} is not known. Allowed: {', '.join(sorted(EXECUTORS))}.")
    if jobs is not None and jobs < 1:
        raise SparsebenchError(f"jobs = {jobs} is not allowed; at least one task must be able to run.")
    module, _, attribute = EXECUTORS[name].partition(":")
    try:
        build: Callable[[SweepConfig, int | None], Executor] = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise SparsebenchError(
            f"Executor {name!r} needs what is not installed ({error.name}): pip install 'sparsebench[{name}]'."
        ) from error
    return build(config, jobs)
