"""What the commands have in common: arguments that several take, and what they tell scripts by their exit codes."""

import shutil
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

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or the name of one in --runs-dir.")]
RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Where run directories lie.")]


def terminal_width() -> int:
    """Return how many characters a line of the terminal has; 80 where there is none, or COLUMNS where that is set."""
    return shutil.get_terminal_size().columns


def directory_of(run: Path, runs_dir: Path) -> Path:
    """Return the directory of a run that is named by it, or by its name among all of them."""
    return run if run.is_dir() else runs_dir / run
