"""The command line: thin over the library. Results go to stdout, progress and warnings to stderr.

Nothing heavy is imported before a command needs it: ``sparsebench --help`` must answer at once.
"""

import atexit
import gc
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsebench.cli import decisions, files
from sparsebench.cli.arguments import RUNS_DIR, RunArgument, RunsDir, directory_of
from sparsebench.cli.exit_codes import TRIALS_FAILED, USAGE
from sparsebench.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.config import SweepConfig
    from sparsebench.runner.executors import Executor
    from sparsebench.runner.sharing.shards import Shard
    from sparsebench.store.run import Run

app = typer.Typer(
    name="sparsebench",
    help="Benchmark pruning × quantization of a PyTorch network: accuracy, sparsity, size and latency in one report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Kind(StrEnum):
    """What ``sparsebench list`` can list."""

    MODELS = "models"
    DATASETS = "datasets"
    PRUNERS = "pruners"
    SCHEMES = "schemes"
    BACKENDS = "backends"


class ExecutorName(StrEnum):
    """Where ``sparsebench run`` can run stages."""

    LOCAL = "local"
    RAY = "ray"


def main() -> None:
    """Run the command line; an error of ours is a sentence on stderr, never a traceback."""
    # The last collection of garbage would go through all that torch brought, for seconds.
    atexit.register(gc.freeze)
    try:
        app()
    except SparsebenchError as error:
        typer.echo(f"sparsebench: {error}", err=True)
        sys.exit(USAGE)


Config = Annotated[Path | None, typer.Argument(help="TOML config; the embedded default sweep if none.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. train.epochs=20.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Stages run at once, each with its share of the cores; 1.")
]
Where = Annotated[ExecutorName, typer.Option("--executor", help="Where stages run: on this machine, or on Ray.")]
ReportDir = Annotated[Path, typer.Option("--report-dir", help="Where reports are written.")]


@app.command(short_help="Run a sweep, or go on with one that was stopped.")
def run(
    config: Config = None,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its state; run nothing.")] = False,
    jobs: Jobs = None,
    executor: Where = ExecutorName.LOCAL,
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
    from sparsebench.config import load_config
    from sparsebench.runner.sharing.shards import parse_shard

    settings = load_config(config, overrides or ())
    part = parse_shard(shard) if shard is not None else None
    if dry_run:
        _print_plan(settings, runs_dir, part)
        return
    result = _sweep(settings, runs_dir, retry_failed, _executor(executor, jobs, settings), part)
    failed = [trial for trial in result.trials if trial.status == "failed"]
    done = sum(trial.status == "done" for trial in result.trials)
    whose = f"trials of shard {part}" if part else "trials"
    typer.echo(f"{done} of {len(result.trials)} {whose} done in {runs_dir / settings.name}.")
    if part:
        _print_what_is_left(runs_dir / settings.name)
    elif not no_report:
        from sparsebench.report.seal import renew_report

        typer.echo(f"Report: {renew_report(result, report_dir / settings.name, runs_dir / settings.name)}")
    if failed:
        typer.echo(
            f"sparsebench: {len(failed)} {whose} failed; the report lists their reasons. "
            "Mend the cause and run again with --retry-failed.",
            err=True,
        )
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
    """Write the Markdown report of a run from its records."""
    from sparsebench.report import write_report
    from sparsebench.store.run_directory import load_run

    found = load_run(directory_of(run, runs_dir))
    written = write_report(found, out or Path("reports") / found.record.name, benchmarks, html)
    typer.echo(f"Report: {written}")
    if html:
        typer.echo(f"Page: {written.with_name('index.html')}")


@app.command(short_help="Prune one layer at a time and report what it costs.")
def sensitivity(
    config: Config = None,
    overrides: Overrides = None,
    jobs: Jobs = None,
    executor: Where = ExecutorName.LOCAL,
    retry_failed: RetryFailed = False,
    runs_dir: RunsDir = RUNS_DIR,
    report_dir: ReportDir = Path("reports"),
) -> None:
    """Prune each layer of the sweep's dense networks alone, without training, and report validation accuracy."""
    from sparsebench.cli.foreground import watching
    from sparsebench.config import load_config
    from sparsebench.report import write_sensitivity
    from sparsebench.runner.sequencer import run_sensitivity

    settings = load_config(config, overrides or ())
    place = _executor(executor, jobs, settings)
    with watching(runs_dir / settings.name) as watcher:
        records = run_sensitivity(
            settings, runs_dir=runs_dir, retry_failed=retry_failed, watcher=watcher, executor=place
        )
    typer.echo(f"Report: {write_sensitivity(settings.name, records, report_dir / settings.name)}")
    failed = sum(record.status == "failed" for record in records)
    wanted = len(settings.seeds) * len(settings.model) * len(settings.data)
    if failed or len(records) < wanted:
        typer.echo(f"sparsebench: {wanted - len(records) + failed} of {wanted} networks failed.", err=True)
        raise typer.Exit(TRIALS_FAILED)


files.register(app)


@app.command("check-trainer", short_help="Check a trainer class of your own.")
def check_trainer_command(
    reference: Annotated[str, typer.Argument(metavar="MODULE:CLASS", help="The trainer class to check.")],
) -> None:
    """Check a trainer class of your own against the contract, before any work."""
    from sparsebench.registry import TRAINERS
    from sparsebench.training.contract import check_trainer

    check_trainer(TRAINERS.load(reference))
    typer.echo(f"{reference} keeps the trainer contract.")


@app.command("list", short_help="List what a config may name.")
def list_command(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what a config may name, and what this machine offers of it."""
    from sparsebench.cli.listing import as_json_text, as_table, rows_of

    rows = rows_of(kind.value)
    typer.echo(as_json_text(rows) if as_json else as_table(rows))


decisions.register(app)


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
) -> None:
    del version  # the callback has done it


def _executor(name: ExecutorName, jobs: int | None, settings: "SweepConfig") -> "Executor":
    from sparsebench.runner.executors import build_executor

    return build_executor(name.value, settings, jobs)


def _sweep(
    settings: "SweepConfig", runs_dir: Path, retry_failed: bool, executor: "Executor", shard: "Shard | None"
) -> "Run":
    from sparsebench.cli.foreground import command_line, watching
    from sparsebench.runner.sequencer import run_sweep

    with watching(runs_dir / settings.name) as watcher:
        return run_sweep(
            settings,
            runs_dir=runs_dir,
            retry_failed=retry_failed,
            watcher=watcher,
            executor=executor,
            shard=shard,
            command=command_line(),
        )


def _print_what_is_left(root: Path) -> None:
    from sparsebench.cli.foreground import command_line
    from sparsebench.runner.sharing.shards import what_is_left
    from sparsebench.store.run_directory import load_run

    typer.echo(f"{what_is_left(load_run(root))}: {command_line(without='--shard')}")


def _print_plan(settings: "SweepConfig", runs_dir: Path, shard: "Shard | None") -> None:
    from sparsebench.cli.listing import plan_text
    from sparsebench.runner.sequencer import plan_sweep
    from sparsebench.runner.sharing.shards import part_of

    plan = plan_sweep(settings)
    typer.echo(plan_text(part_of(plan, shard) if shard else plan, runs_dir / settings.name))
