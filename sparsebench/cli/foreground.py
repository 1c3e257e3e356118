"""How a command behaves that runs for long: results alone go to its stdout, and a signal ends it in good order."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import NoReturn

import typer

from sparsebench.cli.conventions import INTERRUPTED, TERMINATED
from sparsebench.progress.display import Display, watcher_for


class Terminated(KeyboardInterrupt):
    """The system, or somebody, asked this process to end: all is wound up as after an interrupt."""


def command_line(without: str | None = None) -> str:
    """Return the command that is running, as it is typed into a shell.

    Args:
        without: an option to leave out, with its value.
    """
    arguments = sys.argv[1:]
    if without in arguments:
        place = arguments.index(str(without))
        arguments = arguments[:place] + arguments[place + 2 :]
    return shlex.join(["sparsebench", *(text for text in arguments if not text.startswith(f"{without}="))])


@contextmanager
def watching(root: Path) -> Iterator[Display]:
    """Show the progress of a run; an interrupt says what is kept and how to go on.

    Args:
        root: the run directory.

    Raises:
        typer.Exit: at an interrupt or SIGTERM, with ``INTERRUPTED`` or ``TERMINATED``.
    """
    watcher = watcher_for()
    try:
        with prints_to_stderr(), terminated_like_interrupted(), watcher:
            yield watcher
    except KeyboardInterrupt as interrupt:
        what, code = ("terminated", TERMINATED) if isinstance(interrupt, Terminated) else ("interrupted", INTERRUPTED)
        tally = watcher.tally
        done = f"{tally.ended['done']} of {tally.total} stages are done and kept"
        kept = done if tally.total else "What was done is kept"
        typer.echo(f"\nsparsebench: {what}. {kept} in {root}. To resume: {command_line()}", err=True)
        raise typer.Exit(code) from None


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Raise ``Terminated`` at SIGTERM, which otherwise ends a process where it stands."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """Let everything that is written to stdout meanwhile go to stderr, also past Python and by other processes."""
    sys.stdout.flush()
    kept = None
    with suppress(OSError):  # A process may have been started without the one or the other.
        kept = os.dup(1)
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _terminate(*_: object) -> NoReturn:
    raise Terminated
