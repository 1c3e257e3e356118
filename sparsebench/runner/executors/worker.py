"""A worker process, from both sides: as the driver sees it, and what it does until it is told to end."""

import io
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from sparsebench import processes
from sparsebench.errors import Ending, StoreError
from sparsebench.live.sending import packed, unpack
from sparsebench.runner.tasks import Said, Setup, Started, Task
from sparsebench.store.records import StageRecord

TERMINATED = 143
"""Exit code of a worker that was asked to end: 128 + SIGTERM."""


_KEPT_LINES = 20
"""Of what a worker wrote, so many lines are told where it dies."""


@dataclass(frozen=True)
class Ready:
    """A worker has imported all it needs, and trains on a GPU or not."""

    gpu: bool


@dataclass(frozen=True)
class Answer:
    """The records of the task that the worker was sent."""

    records: list[StageRecord]


@dataclass(frozen=True)
class Broken:
    """The worker cannot go on, and nobody could: nothing can be written, or sparsebench itself is at fault."""

    text: str
    details: str
    storage: bool


class Worker:
    """One process, what it is doing, and the channel to it.

    ``gpu``, whether it trains on a GPU, is known once it is ``ready``: has imported all it needs. ``task`` is what it
    was given and has not ended, ``affinity`` that of its last task.
    """

    def __init__(self, setup: Setup) -> None:
        self.channel, theirs = processes.pipe()
        self.process = processes.start(serve, theirs, setup, packed(setup.live), name="sparsebench worker")
        theirs.close()
        self.ready = self.gpu = False
        self.task: Task | None = None
        self.affinity: str | None = None
        self._given_at = self._started_at = math.nan
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)

    @property
    def last_words(self) -> str:
        """The last lines that it wrote while it was at its task; empty where there are none."""
        return "\n".join(["The last lines that it wrote:", *self._said]) if self._said else ""

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

    def kill(self) -> None:
        """End it and all that it started, at once."""
        if hasattr(os, "killpg") and self.process.pid is not None:
            # It leads a group of its own, in which its children may outlive it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.channel.close()


def serve(channel: "Connection[Any, Any]", setup: Setup, objects: bytes) -> None:
    """Carry out tasks until the other end closes the channel; the main function of the process.

    ``objects`` are those of ``setup.live``, as the driver has packed them.
    """
    _stand_alone()
    os.chdir(setup.folder)
    send = _Sender(channel)
    sys.stdout = sys.stderr = _Lines(send)
    from sparsebench.runner.carry_out import carry_out, workbench
    from sparsebench.training.loaders import training_device

    try:
        unpack(objects)
        workbench(setup)
        send(Ready(gpu=training_device(setup.device).type == "cuda"))
        while True:
            send(Answer(carry_out(channel.recv(), send)))
    except (EOFError, ConnectionError):
        return  # The driver is gone, or wants no more.
    except Exception as error:
        send(Broken(str(error), traceback.format_exc(), isinstance(error, StoreError)))


def _stand_alone() -> None:
    """Leave it to the driver to end this process, and end with the driver, however that ends."""
    if hasattr(os, "setpgid"):
        # An interrupt in the terminal is for the driver; and what this process starts is ended with it, as one group.
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit)
    parent: Any = parent_process()  # There is one, for this process was spawned.
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    # What libraries write past Python must not be taken for results of the command either.
    os.dup2(2, 1)


def _exit(*_: object) -> NoReturn:
    """Unwind, so that no half-written file is left."""
    raise Ending(TERMINATED)


def _end_with(sentinel: int) -> None:
    """Wait until the driver is gone, then end this process and all that it started: another driver may go on."""
    connection.wait([sentinel])
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(TERMINATED)


class _Sender:
    """Sends one message at a time, whichever thread has one."""

    def __init__(self, channel: "Connection[Any, Any]") -> None:
        self._channel, self._lock = channel, threading.RLock()
        self.busy = False

    def __call__(self, message: object) -> None:
        with self._lock:
            self.busy = True
            try:
                self._channel.send(message)
            finally:
                self.busy = False

    def interrupted(self) -> bool:
        """Whether this very thread is in the middle of a message; a destructor may print anywhere."""
        with self._lock:
            return self.busy


class _Lines(io.TextIOBase):
    """What the user's code prints, sent to the driver line by line, which shows it without tearing its display."""

    encoding = "utf-8"

    def __init__(self, send: _Sender) -> None:
        self._send, self._owner, self._begun = send, os.getpid(), ""

    def write(self, text: str) -> int:
        # A forked process, such as that of a data loader, must leave the channel alone.
        if os.getpid() != self._owner or self._send.interrupted():
            os.write(2, text.encode(errors="replace"))
            return len(text)
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            # Of a bar that is drawn again and again, the last state.
            self._send(Said(line.rstrip("\r").rpartition("\r")[2]))
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2
