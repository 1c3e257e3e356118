"""The command line: thin over the library. Results go to stdout, progress and warnings to stderr.

Nothing heavy is imported before a command needs it: ``sparsebench --help`` must answer at once.
"""

import atexit
import gc
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Literal

import typer

from sparsebench.cli.card import card
from sparsebench.cli.conventions import (
    REPORTS_DIR,
    RUNS_DIR,
    USAGE,
    AsJson,
    RunArgument,
    RunsDir,
    directory_of,
    width_to_fill,
)
from sparsebench.cli.explained import explain
from sparsebench.cli.exported import export, time_command
from sparsebench.cli.finished import compare, pick, track
from sparsebench.cli.searching import search
from sparsebench.cli.sweeps import run, sensitivity
from sparsebench.cli.terminal import harmless_output
from sparsebench.errors import SparsebenchError, printable
from sparsebench.user_code import SHOWS_TRACEBACKS

NAME = "sparsebench"
COMPLETES = f"_{NAME.upper()}_COMPLETE"
"""The environment variable by which a shell asks what may come next."""

TRACEBACK = "--traceback"

app = typer.Typer(
    name=NAME,
    help="Benchmark pruning × quantization of a PyTorch network: accuracy, sparsity, size and latency in one report.",
    epilog="Begin with 'sparsebench init' in the folder of your network and data, or with 'sparsebench run', which "
    "sweeps a small network on digits in three minutes.",
    no_args_is_help=True,
    add_completion=False,  # The command completion prints the script; no file of the user's is edited.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; an error is a sentence on stderr, and a traceback only where it is asked for."""
    arguments = sys.argv[1:]
    if TRACEBACK in arguments:  # Before the command or after it.
        arguments.remove(TRACEBACK)
        os.environ[SHOWS_TRACEBACKS] = "1"  # For worker processes too.
    if COMPLETES in os.environ:
        from typer.completion import get_completion_inspect_parameters

        get_completion_inspect_parameters()  # It makes the shells known.
    # The last collection of garbage would go through all that torch brought, for seconds.
    atexit.register(gc.freeze)
    try:
        with harmless_output():
            app(arguments, prog_name=NAME)
    except SparsebenchError as error:
        if os.environ.get(SHOWS_TRACEBACKS):
            typer.echo(printable("".join(traceback.format_exception(error))), err=True)
        typer.echo(f"sparsebench: {printable(str(error))}", err=True)
        sys.exit(USAGE)


@app.command(short_help="Write a config for the network and the data in this folder.")
def init(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The config to write; nothing is overwritten.")
    ] = Path("sparsebench.toml"),
) -> None:
    """Look at what lies in this folder and write a commented config for it, to be changed as you like.

    It knows images in a folder for each class, arrays in a .npz file, functions and classes in Python files that make a
    network, a data set or a trainer, and checkpoints. No code of yours is run for that. It says what it found, what it
    took for granted and what to type next.
    """
    from sparsebench.cli.init.starter import write_starter

    typer.echo(write_starter(Path(), output))


app.command(short_help="Run a sweep, or resume one that was stopped.")(run)
app.command(short_help="Search for networks under limits, or go on with a search.")(search)


@app.command(short_help="Write the report of a run from its records.")
def report(
    run: RunArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Where to write it; reports/<name of the run> by default."),
    ] = None,
    benchmarks: Annotated[
        Path | None,
        typer.Option(
            "--pytest-benchmark",
            metavar="JSON",
            help="A file of pytest --benchmark-json: its latencies stand beside ours.",
        ),
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Also write index.html: sortable tables and charts in one file.")
    ] = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Write the Markdown report of a run from its records, and print its answer."""
    from sparsebench.cli.endings import answer_text
    from sparsebench.report import write_report
    from sparsebench.store.run_directory import load_run

    # Where it is written is said by who calls, never by a record.
    root = directory_of(run, runs_dir)
    found = load_run(root)
    written = write_report(found, output or REPORTS_DIR / root.resolve().name, benchmarks, html)
    typer.echo(answer_text(found, root))
    typer.echo(f"\nReport: {written}")
    if html:
        typer.echo(f"Page: {written.with_name('index.html')}")


app.command(short_help="Name the trial to ship, given limits and an objective.")(pick)
app.command(short_help="Write a trial as a file for its runtime, verified.")(export)
app.command(short_help="Say why a trial is slower or faster than another.")(explain)
app.command("time", short_help="Compare the latencies of exported networks in pairs.")(time_command)
app.command(short_help="Compare two runs trial by trial, and gate on what changed.")(compare)
app.command(short_help="Prune one layer at a time and report what it costs.")(sensitivity)


app.command(short_help="Show what each scheme and runtime makes of a trained network.")(card)


@app.command("check-trainer", short_help="Check a trainer class of your own.")
def check_trainer_command(
    reference: Annotated[
        str, typer.Argument(metavar="MODULE:CLASS", help="The class to check: my_project.training:MyTrainer.")
    ],
) -> None:
    """Check the signatures of a trainer class of your own, and build one on eight samples."""
    from sparsebench.cli.foreground import prints_to_stderr
    from sparsebench.registry import TRAINERS
    from sparsebench.training.contract import check_trainer
    from sparsebench.training.rehearsal import build_on_eight

    trainer = TRAINERS.load(reference)
    check_trainer(trainer)
    with prints_to_stderr():
        build_on_eight(trainer, reference)
    typer.echo(f"{reference} keeps the trainer contract.")


@app.command("list", short_help="List what a config may name.")
def list_command(
    kind: Annotated[
        Literal["models", "data", "metrics", "pruners", "schemes", "backends", "boards"] | None,
        typer.Argument(metavar="KIND", help="What to list; without it, what can be listed."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what a config may name, and what this machine offers of it."""
    from sparsebench.cli.listing import as_table, kinds_to_list, rows_of, rows_of_boards

    rows = kinds_to_list() if kind is None else rows_of_boards() if kind == "boards" else rows_of(kind)
    typer.echo(json.dumps(rows, indent=1, ensure_ascii=False) if as_json else as_table(rows, width_to_fill()))


app.command(short_help="Write a run's records to an experiment tracker.")(track)


@app.command(short_help="Print the script by which a shell completes commands.")
def completion(
    context: typer.Context,
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="Which shell it is for.")],
) -> None:
    """Print the script by which a shell completes commands, options and names of runs.

    bash: put  eval "$(sparsebench completion bash)"  into ~/.bashrc.

    zsh: put  eval "$(sparsebench completion zsh)"  into ~/.zshrc, below compinit.

    fish: put  sparsebench completion fish | source  into ~/.config/fish/config.fish.
    """
    from typer.completion import show_callback

    show_callback(context, context.command.params[0], shell)


def _version(wanted: bool) -> None:
    if wanted:
        from sparsebench import __version__

        typer.echo(f"sparsebench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    with_traceback: Annotated[
        bool, typer.Option(TRACEBACK, help="Show where errors came from, line by line; also after the command.")
    ] = False,
) -> None:
    del version, with_traceback  # What they ask for is done already.
