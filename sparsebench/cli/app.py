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

from sparsebench.cli.conventions import RUNS_DIR, TRIALS_FAILED, USAGE, RunArgument, RunsDir, directory_of
from sparsebench.cli.finished import compare, export, pick, time_command, track
from sparsebench.cli.terminal import harmless_output
from sparsebench.errors import SparsebenchError, printable
from sparsebench.user_code import SHOWS_TRACEBACKS

TRACEBACK = "--traceback"

app = typer.Typer(
    name="sparsebench",
    help="Benchmark pruning × quantization of a PyTorch network: accuracy, sparsity, size and latency in one report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; an error is a sentence on stderr, and a traceback only where it is asked for."""
    arguments = sys.argv[1:]
    if TRACEBACK in arguments:  # Before the command or after it.
        arguments.remove(TRACEBACK)
        os.environ[SHOWS_TRACEBACKS] = "1"  # For worker processes too.
    # The last collection of garbage would go through all that torch brought, for seconds.
    atexit.register(gc.freeze)
    try:
        with harmless_output():
            app(arguments)
    except SparsebenchError as error:
        if os.environ.get(SHOWS_TRACEBACKS):
            typer.echo(printable("".join(traceback.format_exception(error))), err=True)
        typer.echo(f"sparsebench: {printable(str(error))}", err=True)
        sys.exit(USAGE)


Config = Annotated[Path | None, typer.Argument(help="TOML config; the embedded default sweep if none.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. train.epochs=20.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Stages run at once, each with its share of the cores; 1.")
]
Where = Annotated[
    Literal["local", "ray"], typer.Option("--executor", help="Where stages run: on this machine, or on Ray.")
]
ReportDir = Annotated[Path, typer.Option("--report-dir", help="Where reports are written.")]


@app.command(short_help="Run a sweep, or go on with one that was stopped.")
def run(
    config: Config = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its state, and check one batch; run nothing.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not train and evaluate one batch before any work.")
    ] = False,
    jobs: Jobs = None,
    executor: Where = "local",
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Do one of N parts of the sweep: no timing, no report.")
    ] = None,
    retry_failed: RetryFailed = False,
    runs_dir: RunsDir = RUNS_DIR,
    report_dir: ReportDir = Path("reports"),
    no_report: Annotated[bool, typer.Option("--no-report", help="Write records only.")] = False,
) -> None:
    """Run a sweep, or go on with one that was stopped, and write its report.

    Several processes may run the same sweep in the same directory at once; they share the work.
    """
    from sparsebench.cli.foreground import command_line, watching
    from sparsebench.cli.listing import plan_text
    from sparsebench.config import load_config
    from sparsebench.runner.executors import build_executor
    from sparsebench.runner.sequencer import check_sweep, plan_sweep, run_sweep
    from sparsebench.runner.sharing.shards import parse_shard, part_of, what_is_left
    from sparsebench.store.run_directory import load_run

    settings = load_config(config, overrides or ())
    root = runs_dir / settings.name
    part = parse_shard(shard) if shard is not None else None
    if dry_run:
        plan = plan_sweep(settings)
        typer.echo(plan_text(part_of(plan, part) if part else plan, root))
        if not no_check:
            check_sweep(settings, root)
        return
    place = build_executor(executor, settings, jobs)
    with watching(root) as watcher:
        result = run_sweep(
            settings,
            runs_dir=runs_dir,
            retry_failed=retry_failed,
            watcher=watcher,
            executor=place,
            shard=part,
            command=command_line(),
            check=not no_check,
        )
    done = sum(trial.status == "done" for trial in result.trials)
    whose = f"trials of shard {part}" if part else "trials"
    typer.echo(f"{done} of {len(result.trials)} {whose} done in {root}.")
    if part:
        typer.echo(f"{what_is_left(load_run(root))}: {command_line(without='--shard')}")
    else:
        from sparsebench.cli.endings import end_with_answer

        end_with_answer(result, root, None if no_report else report_dir / settings.name)
    if failed := [trial for trial in result.trials if trial.status == "failed"]:
        from sparsebench.cli.endings import failed_text

        again = command_line() if retry_failed else f"{command_line()} --retry-failed"
        typer.echo(f"sparsebench: {failed_text(failed, whose)} Fix the cause, then: {again}", err=True)
        raise typer.Exit(TRIALS_FAILED)


@app.command(short_help="Write the report of a run from its records.")
def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write; reports/<name> by default.")] = None,
    benchmarks: Annotated[
        Path | None,
        typer.Option("--pytest-benchmark", metavar="JSON", help="Put the figures of pytest-benchmark beside ours."),
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
    written = write_report(found, out or Path("reports") / root.resolve().name, benchmarks, html)
    typer.echo(answer_text(found, root))
    typer.echo(f"\nReport: {written}")
    if html:
        typer.echo(f"Page: {written.with_name('index.html')}")


@app.command(short_help="Prune one layer at a time and report what it costs.")
def sensitivity(
    config: Config = None,
    overrides: Overrides = None,
    jobs: Jobs = None,
    executor: Where = "local",
    retry_failed: RetryFailed = False,
    runs_dir: RunsDir = RUNS_DIR,
    report_dir: ReportDir = Path("reports"),
) -> None:
    """Prune each layer of the sweep's dense networks alone, without training, and report validation accuracy."""
    from sparsebench.cli.endings import sensitivity_text
    from sparsebench.cli.foreground import command_line, watching
    from sparsebench.config import load_config
    from sparsebench.report import write_sensitivity
    from sparsebench.runner.executors import build_executor
    from sparsebench.runner.sequencer import run_sensitivity

    settings = load_config(config, overrides or ())
    place = build_executor(executor, settings, jobs)
    with watching(runs_dir / settings.name) as watcher:
        records = run_sensitivity(
            settings, runs_dir=runs_dir, retry_failed=retry_failed, watcher=watcher, executor=place
        )
    written = write_sensitivity(settings.name, records, report_dir / settings.name)
    typer.echo(f"{sensitivity_text(settings.name, records)}\n\nReport: {written}")
    failed = sum(record.status == "failed" for record in records)
    wanted = len(settings.seeds) * len(settings.model) * len(settings.data)
    if missing := wanted - len(records) + failed:
        again = command_line() if retry_failed else f"{command_line()} --retry-failed"
        typer.echo(f"sparsebench: {missing} of {wanted} networks failed. Fix the cause, then: {again}", err=True)
        raise typer.Exit(TRIALS_FAILED)


app.command(short_help="Write a trial as a file for its runtime, verified, with a model card.")(export)
app.command("time", short_help="Compare the latencies of exported networks in pairs.")(time_command)


@app.command("check-trainer", short_help="Check a trainer class of your own.")
def check_trainer_command(
    reference: Annotated[str, typer.Argument(metavar="MODULE:CLASS", help="The trainer class to check.")],
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
        Literal["models", "datasets", "pruners", "schemes", "backends"], typer.Argument(help="What to list.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what a config may name, and what this machine offers of it."""
    from sparsebench.cli.listing import as_table, rows_of

    rows = rows_of(kind)
    typer.echo(json.dumps(rows, indent=1, ensure_ascii=False) if as_json else as_table(rows))


app.command(short_help="Name the trial to ship, given limits and an objective.")(pick)
app.command(short_help="Compare two runs trial by trial, and gate on what changed.")(compare)
app.command(short_help="Write a run's records to an experiment tracker.")(track)


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
