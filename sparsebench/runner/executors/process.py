"""A worker process as the driver sees it."""

import math
import os
import signal
import time
from collections import deque
from contextlib import suppress

from sparsebench.processes import how_it_ended, starter
from sparsebench.runner.executors.worker import Ready, serve
from sparsebench.runner.tasks import Said, Setup, Started, Task

_KEPT_LINES = 20
"""Of what a worker wrote, so many lines are told where it dies."""


class Worker:
    """One process, and what it is doing.

    Args:
        setup: what it builds its bench from.

    Attributes:
        channel: tasks go there, news come back.
        sentinel: what is waited for to learn that it has died.
        ready: whether it has imported all it needs.
        gpu: whether it trains on a GPU; known once it is ready.
        task: what it was given and has not ended.
        affinity: that of its last task.
    """

    def __init__(self, setup: Setup) -> None:
        self.channel, theirs = starter().pipe()
        self._process = starter().start(serve, theirs, setup, name="sparsebench worker")
        theirs.close()
        self.sentinel = self._process.sentinel
        self.ready = self.gpu = False
        self.task: Task | None = None
        self.affinity: str | None = None
        self._given_at = self._started_at = math.nan
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)

    @property
    def is_idle(self) -> bool:
        """Whether it can be given a task."""
        return self.ready and self.task is None

    @property
    def is_dead(self) -> bool:
        """Whether it has ended, by itself or otherwise."""
        return not self._process.is_alive()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can come from it any more."""
        return bool(self.channel.closed)

    @property
    def last_words(self) -> str:
        """The last lines that it wrote while it was at its task; empty where there are none."""
        return "\n".join(["The last lines that it wrote:", *self._said]) if self._said else ""

    @property
    def end(self) -> str:
        """How it ended, in words."""
        return how_it_ended(self._process.exitcode)

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        return self._process.exitcode

    def give(self, task: Task) -> None:
        """Send it a task; whether it has died meanwhile is seen when it is listened to."""
        self.task, self.affinity = task, task.affinity
        self._given_at, self._started_at = time.monotonic(), math.nan
        self._said.clear()
        with suppress(OSError):
            self.channel.send(task)

    def take(self) -> Task:
        """Take its task from it, which has ended."""
        task, self.task = self.task, None
        assert task is not None  # noqa: S101 - only a worker with a task answers
        return task

    def note(self, message: object) -> None:
        """Remember what follows from a message for later."""
        if isinstance(message, Ready):
            self.ready, self.gpu = True, message.gpu
        elif isinstance(message, Started):
            self._started_at = time.monotonic()
        elif isinstance(message, Said):
            self._said.append(message.line)

    def seconds_at_task(self) -> float:
        """Return for how long it has had its task."""
        return time.monotonic() - self._given_at

    def seconds_left(self) -> float:
        """Return how long its task may still run; without a limit, or before it began, infinite."""
        limit = self.task.limit_seconds if self.task else None
        if limit is None or math.isnan(self._started_at):
            return math.inf
        return self._started_at + limit - time.monotonic()

    def ask_to_end(self) -> None:
        """Send it the signal at which it unwinds, whatever it does."""
        self._process.terminate()

    def join(self, seconds: float) -> None:
        """Wait for its end, for so long at most."""
        self._process.join(seconds)

    def kill(self) -> None:
        """End it and all that it started, at once."""
        if hasattr(os, "killpg") and self._process.pid is not None:
            # It leads a group of its own, in which its children may outlive it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self.channel.close()
