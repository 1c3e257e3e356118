"""One start of a command that carries out plan after plan in one run directory, where a plan follows from the last."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from sparsebench.config import SweepConfig
from sparsebench.runner.executors import Ended, Executor, MayStart
from sparsebench.runner.plan import Plan
from sparsebench.runner.sequencer import drive, set_left_out_aside, write_run
from sparsebench.runner.tasks import Setup, Task, Tell
from sparsebench.runner.watcher import Watcher
from sparsebench.store.records import Run, TrialResult
from sparsebench.store.run_directory import Store, read_back, read_trials, say_left_out


class Kept:
    """An executor that stays open between plans, so that its workers, and what they loaded, serve the next one."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self.threads, self.here = inner.threads, inner.here
        self._setup: Setup | None = None
        self._may_start: MayStart = lambda _: False

    @property
    def slots(self) -> int:
        """How many tasks may run at once."""
        return self._inner.slots

    def machine(self) -> Mapping[str, str] | None:
        """Return the identity of the machine that times."""
        return self._inner.machine()

    def open(self, setup: Setup, most: int, may_start: MayStart) -> None:
        """Open it where it is not open for such tasks; later plans may have more tasks than the first."""
        self._may_start = may_start
        if self._setup == setup:
            return
        if self._setup is not None:
            self._inner.close()
        self._setup = setup
        self._inner.open(setup, max(most, self.slots), lambda task: self._may_start(task))

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._inner.submit(task)

    def wait(self, tell: Tell) -> Sequence[Ended]:
        """Return those that have ended."""
        return self._inner.wait(tell)

    def close(self) -> None:
        """Leave it open; ``end`` closes it."""

    def end(self) -> None:
        """Close it."""
        self._inner.close()


class Sitting:
    """Carries out plans, one after another; used in a ``with`` statement, at the end of which workers end.

    Args:
        root: the run directory.
        executor: where stages run.
        watcher: is told how each plan goes on.
        retry_failed: whether stages that failed before are tried again.
        check: whether one real batch goes the whole way before any work.
        command: the command line to note in the run's record.
    """

    def __init__(
        self, root: Path, executor: Executor, watcher: Watcher, *, retry_failed: bool, check: bool, command: str
    ) -> None:
        self.store, self.watcher = Store(root), watcher
        self._kept = Kept(executor)
        self._retry, self._check, self._command = retry_failed, check, command
        self._first = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._kept.end()

    @property
    def machine(self) -> Mapping[str, str] | None:
        """The identity of the machine that times, None for this one."""
        return self._kept.machine()

    def carry_out(self, config: SweepConfig, plan: Plan) -> tuple[TrialResult, ...]:
        """Do what is left of a plan, and return its trials with the records of their stages.

        Raises:
            ConfigError: where data, networks or trainer cannot be used; nothing was run.
            StoreError: where the run directory cannot be written to.
        """
        first, self._first = self._first, False
        check = self._check and first
        drive(config, plan, self.store, self.watcher, self._retry, self._kept, check=check, starts=first)
        trials, left_out = read_trials(self.store, plan.trials)
        # What is impossible, or contradicts another record, shows only where records are read whole and joined.
        if set_left_out_aside(left_out, plan, self.store):
            drive(config, plan, self.store, self.watcher, False, self._kept, check=False, starts=False)
            trials, left_out = read_trials(self.store, plan.trials)
        say_left_out(self.store.root, left_out)
        return trials

    def note_run(self, config: SweepConfig, plan: Plan) -> Run:
        """Note what the run consists of, for all who read it, and return it."""
        write_run(config, plan, self.store, self._command, None, whole=True)
        return read_back(self.store.root)

    @property
    def is_noted(self) -> bool:
        """Whether a run was noted there before."""
        return self.store.read_run_if_any() is not None
