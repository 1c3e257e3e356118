"""The commands that run something from a config: ``run`` a sweep, or ``sensitivity``.

Thin over the library, and light: nothing heavy is imported before a command needs it.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparsebench.cli.conventions import (
    REPORTS_DIR,
    RUNS_DIR,
    TRIALS_FAILED,
    RunsDir,
    directory_of,
    runs_that_begin,
    whole_from,
)

Config = Annotated[
    Path | None, typer.Argument(metavar="CONFIG", help="A TOML file; without one, the default sweep of digits.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the config: train.epochs=20; again for more."),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        metavar="N",
        parser=whole_from(1),
        help="How many stages run at once, each with its share of the cores; 1 by default.",
    ),
]
Where = Annotated[
    Literal["local", "ray"], typer.Option("--executor", help="Where stages run: on this machine, or on a Ray cluster.")
]
ReportDir = Annotated[
    Path, typer.Option("--report-dir", metavar="DIR", help="The report is written to a folder of the run's name there.")
]


def run(
    config: Config = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the trials, what there is to do and how long it takes; check one batch; stop."
        ),
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
    report_dir: ReportDir = REPORTS_DIR,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write records, and no report.")] = False,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            "--reuse",
            metavar="RUN",
            help="Take over what another run has done of the same stages; again for more. Latencies are timed anew.",
            autocompletion=runs_that_begin,
        ),
    ] = None,
) -> None:
    """Run a sweep, or resume one that was stopped, and write its report.

    Every combination of thresholds, schemes, backends and seeds in the config is a trial: a network that is trained,
    pruned, quantized, evaluated and timed. Several processes may run the same sweep in the same directory at once; they
    share the work.

    Example: sparsebench run mine.toml --set train.epochs=20 --jobs 2
    """
    from sparsebench.cli.foreground import command_line, watching
    from sparsebench.config import load_config
    from sparsebench.runner.executors import build_executor
    from sparsebench.runner.sequencer import run_sweep
    from sparsebench.runner.sharing.shards import parse_shard, what_is_left
    from sparsebench.store.run_directory import load_run

    settings = load_config(config, overrides or ())
    root = runs_dir / settings.name
    part = parse_shard(shard) if shard is not None else None
    if dry_run:
        from sparsebench.cli.rehearsed import rehearse

        rehearse(settings, root, part, check=not no_check, jobs=jobs or 1)
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
            reuse=[directory_of(one, runs_dir) for one in reuse or ()],
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


def sensitivity(
    config: Config = None,
    overrides: Overrides = None,
    jobs: Jobs = None,
    executor: Where = "local",
    retry_failed: RetryFailed = False,
    runs_dir: RunsDir = RUNS_DIR,
    report_dir: ReportDir = REPORTS_DIR,
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
