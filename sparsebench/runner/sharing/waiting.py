"""What a driver asks before a task begins: whether another driver of the same run directory stands in its way."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from sparsebench.runner.sharing.claims import Claims, machine
from sparsebench.runner.tasks import Task
from sparsebench.store.disk import disk
from sparsebench.store.run_directory import Store

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no such module; timing there relies on the user to run one driver at a time.
    fcntl = None

_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

ASK_SECONDS = 1.0
"""A stage that another driver is at is looked at this often."""

IDLE_SECONDS = 10.0
"""A driver that has had nothing to do for so long says whom it waits for."""


class MachineLock:
    """Keeps timing by one driver and work of another apart, where both are at one run directory on one machine.

    The system lets go of it when its process ends, however it ends. Another run on this machine is the user's own
    choice, and shows in the timing.
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
        with disk("write", self._path, remedy="Free some space or mend its permissions."):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # A link may lead anywhere.
            file = os.fdopen(os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | _NO_LINKS, 0o666), "ab")
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

    Where tasks do not run here, who runs them keeps timing alone. ``idle`` is told who is in the way, once this driver
    has had nothing to do for a while; ``clock`` returns seconds that only grow.
    """

    def __init__(
        self,
        store: Store,
        here: bool = True,
        idle: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._claims, self._lock = Claims(store), MachineLock(store.root) if here else None
        self._idle, self._clock = idle, clock
        self._begun: dict[str, Task] = {}
        self._asked: dict[str, float] = {}
        self._idle_since: float | None = None
        self._told = False

    def may_start(self, task: Task) -> bool:
        """Return whether a task may begin now; it is then this driver's until ``ended``.

        Where tasks run on this machine, one that needs it for itself does not begin beside others of this driver.
        """
        if task.key in self._begun:
            return True  # It is tried again.
        now = self._clock()
        if now - self._asked.get(task.key, now - ASK_SECONDS) < ASK_SECONDS:
            return False
        self._asked[task.key] = now
        if who := self._in_the_way(task):
            self._let_go()
            self._wait(now, who)
            return False
        self._begun[task.key] = task
        self._asked.pop(task.key)
        self._idle_since, self._told = None, False
        return True

    def ended(self, task: Task) -> None:
        """Take note that a task has ended; its stages are committed."""
        self._begun.pop(task.key, None)
        self._claims.release(task.stages)
        self._let_go()

    def close(self) -> None:
        """Give back whatever is held."""
        self._claims.close()
        self._begun.clear()
        self._let_go()

    def _in_the_way(self, task: Task) -> str | None:
        if self._lock is not None:
            mixed = any(task.needs.exclusive or other.needs.exclusive for other in self._begun.values())
            if mixed or not self._lock.take(task.needs.exclusive):
                return "another driver on this machine"
        if not self._claims.take(task.stages):
            return next(filter(None, map(self._claims.holder, task.stages)), "another driver")
        return None

    def _let_go(self) -> None:
        if self._lock is not None and not self._begun:
            self._lock.release()

    def _wait(self, now: float, who: str) -> None:
        """Take note that a task could not begin, and say so once nothing else went on for a while."""
        if self._begun:
            return
        self._idle_since = now if self._idle_since is None else self._idle_since
        if now - self._idle_since >= IDLE_SECONDS and not self._told:
            self._told = True
            self._idle(who)
