"""What a driver asks before a task begins: whether another driver of the same run directory stands in its way."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from sparsebench.claims import Claims, machine
from sparsebench.errors import StoreError
from sparsebench.plan import Stage
from sparsebench.store import Store
from sparsebench.tasks import Task

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no such module; timing there relies on the user to run one driver at a time.
    fcntl = None

ASK_SECONDS = 1.0
"""A stage that another driver is at is looked at this often."""


class MachineLock:
    """Keeps timing by one driver and work of another apart, where both are at one run directory on one machine.

    The system lets go of it when its process ends, however it ends.

    Args:
        root: the run directory.
    """

    def __init__(self, root: Path) -> None:
        name = hashlib.sha256(machine().encode()).hexdigest()[:12]
        self._path = root / f".timing-{name}.lock"
        self._file: IO[bytes] | None = None
        self._exclusive = False

    def take(self, exclusive: bool) -> bool:
        """Hold the lock, alone or together with others, and return whether that was possible."""
        if fcntl is None or (self._file is not None and self._exclusive == exclusive):
            return True
        self.release()
        try:
            file = self._path.open("ab")
        except OSError as error:
            raise StoreError(
                f"Cannot write {self._path}: {error.strerror or error}. Free some space or mend its permissions."
            ) from error
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError:
            pass  # A file system without locks: the run goes on without.
        self._file, self._exclusive = file, exclusive
        return True

    def release(self) -> None:
        """Let go of the lock."""
        if self._file is not None:
            self._file.close()
        self._file = None


class Gate:
    """Lets a task begin unless another driver is at it, or times on this machine.

    Args:
        store: the run directory.
        here: whether tasks run on this machine; otherwise who runs them keeps timing alone.
        blocked: is told of stages at which another driver was found, once for each task, and who it is.
        clock: returns seconds that only grow.
    """

    def __init__(
        self,
        store: Store,
        here: bool = True,
        blocked: Callable[[Sequence[Stage], str], None] = lambda _stages, _who: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._claims = Claims(store)
        self._lock = MachineLock(store.root) if here else None
        self._blocked = blocked
        self._clock = clock
        self._begun: set[str] = set()
        self._asked: dict[str, float] = {}
        self._told: set[str] = set()

    def may_start(self, task: Task) -> bool:
        """Return whether a task may begin now; it is then this driver's until ``ended``.

        Where tasks run on this machine, one that needs it for itself is only asked for when no other of this driver
        runs.
        """
        if task.key in self._begun:
            return True  # It is tried again.
        now = self._clock()
        if now - self._asked.get(task.key, now - ASK_SECONDS) < ASK_SECONDS:
            return False
        self._asked[task.key] = now
        if self._lock is not None and not self._lock.take(task.needs.exclusive):
            self._tell(task, "another driver on this machine, which times or must not be disturbed")
            return False
        if not self._claims.take(task.stages):
            who = next(filter(None, map(self._claims.holder, task.stages)), "another driver")
            self._tell(task, who)
            self._let_go()
            return False
        self._begun.add(task.key)
        self._asked.pop(task.key)
        return True

    def ended(self, task: Task) -> None:
        """Take note that a task has ended; its stages are committed."""
        self._begun.discard(task.key)
        self._claims.release(task.stages)
        self._let_go()

    def close(self) -> None:
        """Give back whatever is held."""
        self._claims.close()
        self._begun.clear()
        self._let_go()

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _let_go(self) -> None:
        if self._lock is not None and not self._begun:
            self._lock.release()

    def _tell(self, task: Task, who: str) -> None:
        if task.key not in self._told:
            self._told.add(task.key)
            self._blocked(task.stages, who)
