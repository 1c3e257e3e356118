"""The commands that decide: ``pick`` among the trials of a run, ``compare`` two runs, ``track`` one elsewhere.

Thin over the library, and light: nothing heavy is imported before a command needs it.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsebench.cli.arguments import RUNS_DIR, RunArgument, RunsDir, directory_of
from sparsebench.cli.exit_codes import DONE, GATE_FAILED, NO_VERDICT, TRIALS_FAILED
from sparsebench.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.decide.pick import Decision
    from sparsebench.store.run import Run


class TableFormat(StrEnum):
    """How ``sparsebench compare`` prints."""

    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"


class Level(StrEnum):
    """What a row of a comparison is."""

    POINT = "point"
    TRIAL = "trial"


class Tracker(StrEnum):
    """Where ``sparsebench track`` writes."""

    MLFLOW = "mlflow"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(short_help="Name the trial to ship, given limits and an objective.")(pick)
    app.command(short_help="Compare two runs trial by trial, and gate on what changed.")(compare)
    app.command(short_help="Write a run's records to an experiment tracker.")(track)


def pick(
    run: RunArgument,
    max_drop: Annotated[
        str | None, typer.Option("--max-drop", metavar="1pp", help="Largest mean drop of top-1; 1pp by default.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option("--max-size", metavar="100kB", help="Largest saved file. kB = 1000 bytes, KiB = 1024.")
    ] = None,
    max_deflated_size: Annotated[
        str | None, typer.Option("--max-deflated-size", metavar="50kB", help="Largest saved file after DEFLATE.")
    ] = None,
    max_ram: Annotated[
        str | None,
        typer.Option("--max-ram", metavar="64KiB", help="Largest working memory: activations at batch 1, no weights."),
    ] = None,
    max_macs: Annotated[
        str | None, typer.Option("--max-macs", metavar="5M", help="Most multiply-accumulates with a non-zero weight.")
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option("--max-latency", metavar="2ms", help="Highest median latency of one call.")
    ] = None,
    minimize: Annotated[
        str | None,
        typer.Option(
            "--minimize",
            metavar="CRITERION",
            help="latency, size, deflated_size (the default), macs or memory.",
        ),
    ] = None,
    maximize: Annotated[str | None, typer.Option("--maximize", metavar="accuracy", help="Instead: accuracy.")] = None,
    then: Annotated[
        list[str] | None,
        typer.Option("--then", metavar="CRITERION", help="What decides among those that cannot be told apart so far."),
    ] = None,
    backend: Annotated[str | None, typer.Option("--backend", help="Only trials of this backend.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Where the run has several networks.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Where the run has several data sets.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Samples in one call, for latency.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads, for latency.")] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Limits must hold at the far end of the 95 % interval, or for every seed."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Name the trial to ship, why, its runner-up, and the command that exports it.

    No winner is called where 95 % intervals overlap, or where a file is not smaller for every seed: then it says how to
    settle that. Exit codes: 0, a trial is named; 1, nothing meets the limits, or what meets them cannot be told apart;
    2, usage; 4, latency was asked for and was not measured, is INVALID, or its intervals overlap.
    """
    from sparsebench.decide.pick import decide
    from sparsebench.decide.pick_text import decision_json, decision_text
    from sparsebench.decide.question import Options, ask
    from sparsebench.points.points import sections

    found = _load(run, runs_dir)
    options = Options(
        limits={
            "drop": max_drop,
            "size": max_size,
            "deflated_size": max_deflated_size,
            "memory": max_ram,
            "macs": max_macs,
            "latency": max_latency,
        },
        minimize=minimize,
        maximize=maximize,
        then=tuple(then or ()),
        strict=strict,
        model=model,
        data=data,
        backend=backend,
        batch=batch,
        threads=threads,
    )
    decision = decide(found, *ask(sections(found), options))
    export, exportable = _export(decision, found, _named(run, runs_dir))
    typer.echo(decision_json(decision, export, exportable) if as_json else decision_text(decision, export))
    codes = {"picked": DONE, "nothing fits": GATE_FAILED, "not told apart": GATE_FAILED, "timing open": NO_VERDICT}
    raise typer.Exit(codes[decision.outcome])


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="The run before, or the name of one in --runs-dir.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The run after.")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="METRIC>LIMIT",
            help="Exit code 1 beyond that: accuracy_drop>0.5pp, latency_p50>5%, size>10kB; again for more gates.",
        ),
    ] = None,
    evidence: Annotated[
        str,
        typer.Option(
            "--evidence",
            help="What a gate asks for: significant (beyond the limit, and a change at 5 % over all rows), estimate "
            "(beyond the limit) or certain (the whole 95 % interval is).",
        ),
    ] = "significant",
    by: Annotated[
        Level,
        typer.Option("--by", help="Rows, and what gates judge: an operating point over its seeds, or each trial."),
    ] = Level.POINT,
    form: Annotated[TableFormat, typer.Option("--format", help="How to print it.")] = TableFormat.TABLE,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Compare two runs trial by trial, paired where possible, and fail where a gate is broken.

    Metrics that gates may name, each with > and a limit: accuracy_drop and sparsity_drop (pp), latency_p50, latency_p95
    and macs (%), size, deflated_size, memory and peak_memory (% or kB). A gate is broken as soon as one row is. Exit
    codes: 0, all gates are kept; 1, one is broken; 2, usage; 3, a trial was done in the first run and is not in the
    second; 4, latency was asked for and cannot be told: beyond the limit but not proven, INVALID, or another machine.
    """
    from sparsebench.decide.changes_text import json_text, markdown_text, table_text
    from sparsebench.decide.compare import compare_runs
    from sparsebench.decide.gates import judge, parse_gates, require_evidence

    gates = parse_gates(fail_on or ())
    require_evidence(evidence)
    compared = compare_runs(_load(run_a, runs_dir), _load(run_b, runs_dir))
    each_trial = by is Level.TRIAL
    verdicts = [judge(gate, compared, evidence=evidence, each_trial=each_trial) for gate in gates]
    if form is TableFormat.JSON:
        typer.echo(json_text(compared, verdicts))
    else:
        print_as = markdown_text if form is TableFormat.MARKDOWN else table_text
        typer.echo(print_as(compared, verdicts, each_trial))
    states = {verdict.state for verdict in verdicts}
    if "broken" in states:
        raise typer.Exit(GATE_FAILED)
    if gates and compared.lost:
        raise typer.Exit(TRIALS_FAILED)
    raise typer.Exit(NO_VERDICT if "open" in states else DONE)


def track(
    run: RunArgument,
    to: Annotated[Tracker, typer.Option("--to", help="The tracker.")] = Tracker.MLFLOW,
    uri: Annotated[
        str | None, typer.Option("--uri", help="Of the tracking store; the folder mlruns here by default.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="Name of the experiment; sparsebench/<name of the run>.")
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Write a run's records to an experiment tracker: a run for the sweep, and one below it for each trial.

    Doing so again adds what is new and makes no duplicates.
    """
    del to  # there is one
    from sparsebench.tracking import track_in_mlflow

    done = track_in_mlflow(_load(run, runs_dir), uri=uri, experiment=experiment)
    typer.echo(
        f"{done.created} trials added, {done.updated} brought up to date and {done.unchanged} left as they were in "
        f"experiment {done.experiment!r} of {done.uri}."
    )


def _load(run: Path, runs_dir: Path) -> "Run":
    from sparsebench.store.run_directory import load_run

    return load_run(directory_of(run, runs_dir))


def _named(run: Path, runs_dir: Path) -> Sequence[str]:
    """Return how a run is named again on a command line."""
    elsewhere = not run.is_dir() and runs_dir != RUNS_DIR
    return (str(run), "--runs-dir", str(runs_dir)) if elsewhere else (str(run),)


def _export(decision: "Decision", found: "Run", run: Sequence[str]) -> tuple[str, bool]:
    """Return the command that exports a decision's trial and True, or why there is none and False."""
    if decision.trial is None:
        return "", False
    from sparsebench.export import export_command

    try:
        return export_command(run, decision.trial, found.trials), True
    except SparsebenchError as error:
        return str(error), False
