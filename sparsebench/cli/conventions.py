"""What the commands have in common: arguments that several take, and what they tell scripts by their exit codes."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

DONE = 0

GATE_FAILED = 1
"""A gate was broken, a verdict was another than the one asked for, or nothing could be chosen."""

USAGE = 2
"""The command line, the config or a file cannot be used."""

TRIALS_FAILED = 3

NO_VERDICT = 4
"""Timing was asked for a verdict and has none that can be trusted."""

INTERRUPTED, TERMINATED = 130, 143
"""As shells say it of SIGINT and SIGTERM: 128 and the signal's number."""

MOST = 2**31 - 1
"""No number that is counted is larger; what a machine can give is asked where it is used."""

RUNS_DIR = Path("runs")
REPORTS_DIR = Path("reports")


def runs_that_begin(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Yield the names of runs for a shell that completes a command; it offers files where there are none."""
    runs_dir = Path(ctx.params.get("runs_dir") or RUNS_DIR)
    found = runs_dir.iterdir() if runs_dir.is_dir() else ()
    yield from sorted(path.name for path in found if path.is_dir() and path.name.startswith(incomplete))


def whole_from(least: int) -> Callable[[object], int]:
    """Return what reads a whole number that is at least so large."""

    def read(value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            raise typer.BadParameter(f"{value!r} is no whole number.") from None
        if not least <= number <= MOST:
            raise typer.BadParameter(f"{number} is out of range; allowed is {least} to {MOST}.")
        return number

    return read


RunArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run: its name, or its directory. A bare name is looked for in --runs-dir first.",
        autocompletion=runs_that_begin,
    ),
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Where run directories lie.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def terminal_width(otherwise: int = 80) -> int:
    """Return how many characters a line of the terminal has; COLUMNS where that is set, else ``otherwise``."""
    return shutil.get_terminal_size((otherwise, 24)).columns


def width_to_fill() -> int | None:
    """Return how wide a table may be that is printed to a terminal; None for a pipe or a file, which wrap nothing."""
    return terminal_width() if sys.stdout.isatty() else None


def directory_of(run: Path, runs_dir: Path) -> Path:
    """Return the directory of a run that is named by it, or by its name among all of them.

    A bare name is that of a run: a folder beside it that is called like it is not meant, unless there is no such run.
    """
    named = runs_dir / run
    is_bare = len(run.parts) == 1 and run.name not in ("", "..")
    return named if (is_bare and named.is_dir()) or not run.is_dir() else run
