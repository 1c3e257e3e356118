"""The command ``search``: networks under limits, proposed, trained briefly, and the best of them in full.

Thin over the library, and light: nothing heavy is imported before a command needs it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparsebench.cli.conventions import GATE_FAILED, REPORTS_DIR, RUNS_DIR, RunsDir, directory_of, whole_from
from sparsebench.cli.sweeps import Config, Jobs, Overrides, ReportDir, RetryFailed, Where

if TYPE_CHECKING:
    from sparsebench.config import SweepConfig


def _limit(option: str, example: str, what: str) -> Any:
    return typer.Option(option, metavar=example, help=what)


def search(
    config: Config = None,
    overrides: Overrides = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", parser=whole_from(1), help="Networks that are trained (search.trials)."),
    ] = None,
    seconds: Annotated[
        str | None,
        typer.Option("--seconds", metavar="S", help="Seconds of stages, after which nothing more is proposed."),
    ] = None,
    max_drop: Annotated[str | None, _limit("--max-drop", "1pp", "Most that may be lost, on validation.")] = None,
    max_size: Annotated[str | None, _limit("--max-size", "100kB", "Largest saved file.")] = None,
    max_deflated_size: Annotated[
        str | None, _limit("--max-deflated-size", "50kB", "Largest saved file as a zip (DEFLATE) holds it.")
    ] = None,
    max_flash: Annotated[
        str | None, _limit("--max-flash", "64kB", "Largest store of the non-zero weights alone, without indices.")
    ] = None,
    max_ram: Annotated[
        str | None, _limit("--max-ram", "16kB", "Largest working memory: activations at batch 1, no weights.")
    ] = None,
    max_macs: Annotated[
        str | None, _limit("--max-macs", "5M", "Most multiply-accumulates with a non-zero weight.")
    ] = None,
    max_latency: Annotated[
        str | None, _limit("--max-latency", "2ms", "Highest latency, by the upper end of its interval.")
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            "--beside", metavar="RUN", help="A finished sweep to stand beside it in the report; again for more."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what is searched and about how long it takes; check one batch; stop."),
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not train and evaluate one batch before any work.")
    ] = False,
    jobs: Jobs = None,
    executor: Where = "local",
    retry_failed: RetryFailed = False,
    runs_dir: RunsDir = RUNS_DIR,
    report_dir: ReportDir = REPORTS_DIR,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write records, and no report.")] = False,
) -> None:
    """Search for networks under limits, or go on with a search that was stopped, and write its report.

    Thresholds of groups of layers, pruners, schemes and backends are proposed (section [search] of the config); what
    breaks a limit that can be computed is never trained. Networks are trained briefly, the best of them in full. The
    front is chosen on validation and then read once on test; pick and export work on its run.

    Exit codes: 0, there is a front; 1, nothing keeps the limits; 2, usage.

    Example: sparsebench search mine.toml --trials 60 --max-flash 64kB --max-drop 1pp
    """
    from sparsebench.cli.foreground import command_line, watching
    from sparsebench.config import load_config
    from sparsebench.runner.executors import build_executor
    from sparsebench.store.run_directory import load_run

    given: Mapping[str, object] = {
        "trials": trials,
        "seconds": seconds,
        "max_drop": max_drop,
        "max_size": max_size,
        "max_deflated_size": max_deflated_size,
        "max_flash": max_flash,
        "max_ram": max_ram,
        "max_macs": max_macs,
        "max_latency": max_latency,
    }
    own = [f"search.{key}={value}" for key, value in given.items() if value is not None]
    settings = load_config(config, [*(overrides or ()), *own])
    if dry_run:
        _rehearse(settings, runs_dir, check=not no_check, jobs=jobs or 1)
        return
    sweeps = [load_run(directory_of(run, runs_dir)) for run in beside or ()]
    place = build_executor(executor, settings, jobs)
    from sparsebench.search.sequence import search as look_for

    with watching(runs_dir / settings.name) as watcher:
        found = look_for(
            settings,
            runs_dir=runs_dir,
            retry_failed=retry_failed,
            watcher=watcher,
            executor=place,
            command=command_line(),
            check=not no_check,
        )
    from sparsebench.cli.endings import end_with_answer
    from sparsebench.search.beside import beside as set_beside
    from sparsebench.search.page import front_lines, write_page

    rounds = found.rounds
    typer.echo(
        f"{len(rounds.networks)} networks trained briefly and {len(found.finalists)} in full in {found.root}; "
        f"{rounds.refused} proposals broke a limit and were not trained."
    )
    for line in front_lines(found):
        typer.echo(f"  {line}")
    if not no_report:
        model, data = settings.model[0].name, settings.data[0].name
        others = [set_beside(run, rounds.judge, model, data) for run in sweeps]
        page = write_page(found, report_dir / settings.name, others)
        typer.echo(f"Search: {page}")
    if not found.front:
        typer.echo(f"sparsebench: nothing keeps the limits. {found.why_none}", err=True)
        raise typer.Exit(GATE_FAILED)
    end_with_answer(found.run, found.root, None if no_report else report_dir / settings.name)


def _rehearse(config: "SweepConfig", runs_dir: Path, *, check: bool, jobs: int) -> None:
    """Print what would be searched, check one batch unless told otherwise, and print how long it takes."""
    from sparsebench.cli.foreground import prints_to_stderr
    from sparsebench.progress.forecast import clock
    from sparsebench.runner.sequencer import check_sweep, plan_sweep
    from sparsebench.search.beginning import checked
    from sparsebench.search.plans import with_control

    settings = checked(config, runs_dir)
    sought, train = settings.search, settings.train
    assert sought is not None  # noqa: S101 - checked has put it there
    plan = plan_sweep(with_control(settings))
    offered = dict.fromkeys(f"{t.scheme} · {t.backend}" for t in plan.trials if not t.not_offered)
    missing = {f"{t.scheme} · {t.backend}": t.not_offered for t in plan.trials if t.not_offered}
    rungs = sought.rungs(train.epochs)
    epochs = [sought.trials * rungs[0]]
    for longer in rungs[1:]:
        epochs.append(int(epochs[-1] / max(1, rungs[len(epochs) - 1]) * sought.keep) * longer)
    full = (sought.finalists + 2) * len(settings.seeds) * train.epochs
    limits = ", ".join(f"{name} ≤ {text}" for name, text in sought.limits.items() if text) or "none"
    typer.echo(
        f"{sought.trials} networks, {sought.batch} at a time ({sought.sampler}), in {runs_dir / settings.name}.\n"
        f"Objectives: {', '.join(sought.objectives)}. Limits: {limits}.\n"
        f"Pruners: {', '.join(pruner.label for pruner in settings.pruners)}. Formats: {', '.join(offered)}.\n"
        f"To do, at most: {' + '.join(map(str, epochs))} epochs of short trainings, {full} of full ones "
        f"({sought.finalists} networks and dense ones, {len(settings.seeds)} seeds)."
    )
    for name, why in missing.items():
        typer.echo(f"sparsebench: {name} is not offered: {why}", err=True)
    if not check:
        return
    with prints_to_stderr():
        paces = check_sweep(with_control(settings), runs_dir / settings.name)
    for pace in paces.values():
        steps = train.steps_per_epoch or pace.batches["train"]
        epoch = steps * pace.step + pace.batches["val"] * pace.batch
        typer.echo(
            f"Training takes about {clock((sum(epochs) + full) * epoch / jobs)} here; formats come on top of that."
        )
