"""The command line: thin over the library. Results go to stdout, progress and warnings to stderr.

Nothing heavy is imported before a command needs it: ``sparsebench --help`` must answer at once.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsebench import cli_decisions
from sparsebench.errors import SparsebenchError
from sparsebench.exit_codes import DONE, GATE_FAILED, NO_VERDICT, TRIALS_FAILED, USAGE

if TYPE_CHECKING:
    from sparsebench.config import SweepConfig
    from sparsebench.executors import Executor
    from sparsebench.records import Run
    from sparsebench.sharding import Shard

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


class FileFormat(StrEnum):
    """What ``sparsebench export`` can write."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    PT2 = "pt2"


def main() -> None:
    """Run the command line; an error of ours is a sentence on stderr, never a traceback."""
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
RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Where run directories lie.")]
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
    runs_dir: RunsDir = Path("runs"),
    report_dir: ReportDir = Path("reports"),
    no_report: Annotated[bool, typer.Option("--no-report", help="Write records only.")] = False,
) -> None:
    """Run a sweep, or go on with one that was stopped, and write its report.

    Several processes may run the same sweep in the same directory at once; they share the work.
    """
    from sparsebench.config import load_config
    from sparsebench.sharding import parse_shard

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
        _write_report(result, report_dir / settings.name)
    if failed:
        typer.echo(
            f"sparsebench: {len(failed)} {whose} failed; the report lists their reasons. "
            "Mend the cause and run again with --retry-failed.",
            err=True,
        )
        raise typer.Exit(TRIALS_FAILED)


@app.command(short_help="Write the report of a run from its records.")
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or the name of one in --runs-dir.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to write; reports/<name> by default.")] = None,
    benchmarks: Annotated[
        Path | None,
        typer.Option("--pytest-benchmark", metavar="JSON", help="Put the figures of pytest-benchmark beside ours."),
    ] = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Write the Markdown report of a run from its records."""
    from sparsebench.store import load_run

    found = load_run(run if run.is_dir() else runs_dir / run)
    _write_report(found, out or Path("reports") / found.record.name, benchmarks)


@app.command(short_help="Prune one layer at a time and report what it costs.")
def sensitivity(
    config: Config = None,
    overrides: Overrides = None,
    jobs: Jobs = None,
    executor: Where = ExecutorName.LOCAL,
    retry_failed: RetryFailed = False,
    runs_dir: RunsDir = Path("runs"),
    report_dir: ReportDir = Path("reports"),
) -> None:
    """Prune each layer of the sweep's dense networks alone, without training, and report validation accuracy."""
    from sparsebench.config import load_config
    from sparsebench.foreground import watching
    from sparsebench.report import write_sensitivity
    from sparsebench.runner import run_sensitivity

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


@app.command(short_help="Write a trial as a file for its runtime, verified, with a model card.")
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or the name of one in --runs-dir.")],
    trial: Annotated[
        str,
        typer.Argument(metavar="TRIAL", help="Beginning of its key, or parts of its label: 'static 0.8'."),
    ],
    to: Annotated[FileFormat, typer.Option("--to", help="Format of the file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file: .onnx, .xml or .pt2; a card lands beside it.")],
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Write a trial as a file for its runtime, reload it in a fresh process, compare, and write a model card."""
    from sparsebench.exporting import export_trial

    done = export_trial(run if run.is_dir() else runs_dir / run, trial, to.value, out, force=force)
    found = done.verification
    bits = "same bits" if found.bit_equal else f"outputs within {found.max_abs_difference:.3g}"
    typer.echo(
        f"{', '.join(map(str, done.files))}: verified on {found.samples:,} test samples, {bits}, "
        f"top-1 {100 * found.top1:.2f} % (recorded {100 * found.recorded_top1:.2f} %)."
    )


@app.command("time", short_help="Compare the latencies of exported networks in pairs.")
def time_command(
    files: Annotated[list[Path], typer.Argument(metavar="A B …", help="Exported networks: .pt2, .onnx, .xml.")],
    baseline: Annotated[str | None, typer.Option("--baseline", help="The file to compare with; the first.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Samples in one call.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads inside one operation.")] = 1,
    seconds_cap: Annotated[float, typer.Option("--seconds-cap", help="About how long it may last.")] = 60.0,
    precision: Annotated[float, typer.Option("--precision", help="Half-width of intervals at which it stops.")] = 0.01,
    band: Annotated[float, typer.Option("--band", help="Differences up to this fraction do not matter.")] = 0.01,
    seed: Annotated[int, typer.Option("--seed", help="Of the random order of the rounds.")] = 0,
    shapes: Annotated[
        list[str] | None,
        typer.Option("--input-shape", metavar="N,C,H,W", help="Shape of an input, where files leave it open."),
    ] = None,
    fail_unless: Annotated[
        str | None,
        typer.Option("--fail-unless", metavar="VERDICTS", help="Verdicts every file must have: FASTER,EQUIVALENT."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare the latencies of exported networks in pairs: interleaved, with 95 % intervals and verdicts.

    A .pt2 is run by PyTorch as it is, without a compiler; .onnx by ONNX Runtime, .xml by OpenVINO. Exit code 4: the
    session is INVALID, or a verdict was asked for with --fail-unless and is INCONCLUSIVE. 1: another verdict.
    """
    from sparsebench.exported.comparing import compare_files, differing_feeds, open_files
    from sparsebench.exported.verdicts import json_text, judge, parse_shapes, parse_verdicts

    wanted, given = parse_verdicts(fail_unless), parse_shapes(shapes or ())
    opened = open_files(files, batch=batch, shapes=given)
    if note := differing_feeds(opened):
        typer.echo(f"sparsebench: {note}", err=True)
    typer.echo(f"sparsebench: timing {len(opened)} files, about {seconds_cap:g} s at most …", err=True)
    comparison = compare_files(
        opened,
        baseline=baseline,
        threads=threads,
        seconds_cap=seconds_cap,
        precision=precision,
        band=band,
        seed=seed,
    )
    typer.echo(json_text(comparison, opened) if as_json else str(comparison))
    judgement, why = judge(comparison, wanted)
    if why:
        typer.echo(f"sparsebench: {why}", err=True)
    raise typer.Exit({"as asked": DONE, "otherwise": GATE_FAILED, "open": NO_VERDICT}[judgement])


@app.command("check-trainer", short_help="Check a trainer class of your own.")
def check_trainer_command(
    reference: Annotated[str, typer.Argument(metavar="MODULE:CLASS", help="The trainer class to check.")],
) -> None:
    """Check a trainer class of your own against the contract, before any work."""
    from sparsebench.contract import check_trainer
    from sparsebench.registry import TRAINERS

    check_trainer(TRAINERS.load(reference))
    typer.echo(f"{reference} keeps the trainer contract.")


@app.command("list", short_help="List what a config may name.")
def list_command(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what a config may name, and what this machine offers of it."""
    from sparsebench.listing import as_json_text, as_table, rows_of

    rows = rows_of(kind.value)
    typer.echo(as_json_text(rows) if as_json else as_table(rows))


cli_decisions.register(app)


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
    from sparsebench.executors import build_executor

    return build_executor(name.value, settings, jobs)


def _sweep(
    settings: "SweepConfig", runs_dir: Path, retry_failed: bool, executor: "Executor", shard: "Shard | None"
) -> "Run":
    from sparsebench.foreground import command_line, watching
    from sparsebench.runner import run_sweep

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


def _write_report(result: "Run", out: Path, benchmarks: Path | None = None) -> None:
    from sparsebench.report import write_report

    typer.echo(f"Report: {write_report(result, out, benchmarks)}")


def _print_what_is_left(root: Path) -> None:
    from sparsebench.foreground import command_line
    from sparsebench.sharding import what_is_left
    from sparsebench.store import load_run

    typer.echo(f"{what_is_left(load_run(root))}: {command_line(without='--shard')}")


def _print_plan(settings: "SweepConfig", runs_dir: Path, shard: "Shard | None") -> None:
    from sparsebench.listing import plan_text
    from sparsebench.runner import plan_sweep
    from sparsebench.sharding import part_of

    plan = plan_sweep(settings)
    typer.echo(plan_text(part_of(plan, shard) if shard else plan, runs_dir / settings.name))
