"""The arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

RUNS_DIR = Path("runs")

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or the name of one in --runs-dir.")]
RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Where run directories lie.")]


def directory_of(run: Path, runs_dir: Path) -> Path:
    """Return the directory of a run that is named by it, or by its name among all of them."""
    return run if run.is_dir() else runs_dir / run
