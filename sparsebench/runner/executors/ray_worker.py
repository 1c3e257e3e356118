"""What runs on the nodes of a Ray cluster. It is a module of its own, for workers need nothing of the driver's side."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsebench import __version__
from sparsebench.errors import SparsebenchError, StoreError
from sparsebench.live.sending import unpack
from sparsebench.live.table import is_held
from sparsebench.runner.tasks import News, Task
from sparsebench.store.environment import machine_identity
from sparsebench.store.records import StageRecord

NEWS_SECONDS = 2.0
"""How long the end of a task waits for its news; what is later than that is left out."""


class Mailbox:
    """An actor that holds news of tasks until the driver fetches them."""

    def __init__(self) -> None:
        self._events: list[News] = []

    def put(self, event: News) -> None:
        """Take news from a worker."""
        self._events.append(event)

    def take(self) -> list[News]:
        """Return the news since the last call, in the order in which they came."""
        events, self._events = self._events, []
        return events


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the driver runs: its version of sparsebench, and where it finds modules that are not installed."""

    version: str
    paths: Sequence[str]


def identity(origin: Origin) -> Mapping[str, str]:
    """Return the identity of the machine that this worker runs on."""
    _check_version(origin)
    return machine_identity()


def carry_out_here(task: Task, mailbox: Any, origin: Origin, objects: bytes = b"") -> list[StageRecord] | str:
    """Carry out a task in this worker; news go to ``mailbox``. ``objects`` are those of ``task.setup.live``, packed.

    Returns:
        The record of each stage; or, where a record cannot be written on this node, the sentence that says so.
    """
    _check_version(origin)
    _move_in(task, origin)
    if not all(map(is_held, task.setup.live)):
        unpack(objects)
    # Imported only in the driver's working directory, where modules of the user's own are found.
    import ray

    from sparsebench.runner.carry_out import carry_out

    sent: list[Any] = []
    try:
        return carry_out(task, lambda event: sent.append(mailbox.put.remote(event)))
    except StoreError as error:
        return f"{error} (on node {platform.node()})"
    finally:
        if sent:
            ray.wait(sent, num_returns=len(sent), timeout=NEWS_SECONDS)


def _check_version(origin: Origin) -> None:
    if origin.version != __version__:
        raise SparsebenchError(
            f"This node has sparsebench {__version__}, the driver {origin.version}; install the same on all nodes."
        )


def _move_in(task: Task, origin: Origin) -> None:
    """Make this process see what the driver sees: its folder, its modules and the run directory."""
    root, folder = task.setup.root, task.setup.folder
    # It is not made here: on a node without the shared file system, nobody would read what is written there.
    if not root.is_dir():
        raise SparsebenchError(
            f"This node does not see the run directory {root}. It must lie on a file system that all nodes share, "
            "under the same path; choose it with --runs-dir."
        )
    if folder.is_dir() and Path.cwd() != folder:
        os.chdir(folder)
    sys.path += [path for path in origin.paths if path not in sys.path]
