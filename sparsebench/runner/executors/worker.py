"""A worker process: it carries out the tasks that it is sent, one after the other, until it is told to end."""

import io
import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from sparsebench.errors import StoreError
from sparsebench.runner.tasks import Said, Setup
from sparsebench.store.records import StageRecord

TERMINATED = 143
"""Exit code of a worker that was asked to end: 128 + SIGTERM."""


@dataclass(frozen=True)
class Ready:
    """A worker has imported all it needs.

    Attributes:
        gpu: whether it trains on a GPU.
    """

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


def serve(channel: "Connection[Any, Any]", setup: Setup) -> None:
    """Carry out tasks until the other end closes the channel; the main function of the process."""
    _stand_alone()
    os.chdir(setup.folder)
    send = _Sender(channel)
    sys.stdout = sys.stderr = _Lines(send)
    from sparsebench.runner.work import carry_out, workbench
    from sparsebench.training.loaders import training_device

    try:
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
    parent = parent_process()
    assert parent is not None  # noqa: S101 - this process was spawned
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    # What libraries write past Python must not be taken for results of the command either.
    os.dup2(2, 1)


def _exit(*_: object) -> NoReturn:
    """Unwind, so that no half-written file is left."""
    sys.exit(TERMINATED)


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
