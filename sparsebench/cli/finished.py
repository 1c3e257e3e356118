"""The commands for what a run has left: ``pick`` a trial, ``compare`` two runs, ``track``.

Thin over the library, and light: nothing heavy is imported before a command needs it.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparsebench.cli.conventions import (
    DONE,
    GATE_FAILED,
    NO_VERDICT,
    RUNS_DIR,
    TRIALS_FAILED,
    AsJson,
    RunArgument,
    RunsDir,
    directory_of,
    runs_that_begin,
    terminal_width,
    whole_from,
)
from sparsebench.errors import SparsebenchError


def pick(
    run: RunArgument,
    max_drop: Annotated[
        str | None,
        typer.Option(
            "--max-drop",
            metavar="1pp",
            help="Most accuracy that may be lost, 1pp by default; of a metric that is no share in its unit.",
        ),
    ] = None,
    max_size: Annotated[
        str | None, typer.Option("--max-size", metavar="100kB", help="Largest saved file. kB = 1000 bytes, KiB = 1024.")
    ] = None,
    max_deflated_size: Annotated[
        str | None,
        typer.Option("--max-deflated-size", metavar="50kB", help="Largest saved file as a zip (DEFLATE) holds it."),
    ] = None,
    max_ram: Annotated[
        str | None,
        typer.Option(
            "--max-ram",
            metavar="64KiB",
            help="Largest arena on a microcontroller where it was measured, otherwise working memory: activations at "
            "batch 1, no weights.",
        ),
    ] = None,
    max_flash: Annotated[
        str | None,
        typer.Option(
            "--max-flash",
            metavar="256KiB",
            help="Most flash on a microcontroller where it was measured, otherwise that of the non-zero weights.",
        ),
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
            help="What to have least of: latency, size, deflated_size (the default), flash, macs or memory.",
        ),
    ] = None,
    maximize: Annotated[
        str | None,
        typer.Option("--maximize", metavar="accuracy", help="Or what to have most of: accuracy, or the run's metric."),
    ] = None,
    then: Annotated[
        list[str] | None,
        typer.Option("--then", metavar="CRITERION", help="What decides among equals; again for more."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="NAME", help="Only trials of this backend.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The network, where the run has several.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="The data, where the run has several sets.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", metavar="N", parser=whole_from(1), help="The latency at so many samples in one call."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", parser=whole_from(1), help="The latency on so many threads."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Limits must hold at the far end of the 95 % interval, or for every seed."),
    ] = False,
    accept_open: Annotated[
        bool,
        typer.Option("--accept-open", help="Name the best guess where the test set is too small to be sure."),
    ] = False,
    any_format: Annotated[bool, typer.Option("--any", help="Also name what cannot be exported.")] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Name the trial to ship, why, its runner-up, and the command that exports it.

    Networks are chosen on the validation split. The chosen one is PICKED if its 95 % interval on the test set keeps the
    limit on the drop, and OPEN if it may break it; then the number of test samples is given that would settle it. Of
    networks that are equally good, the one that loses least is named.

    Exit codes: 0, a trial is named; 1, nothing meets the limits, or the best guess is OPEN; 2, usage; 4, latency was
    asked for and was not measured, is INVALID, or may be no better than that of dense fp32.

    Example: sparsebench pick mine --max-drop 0.5pp --minimize latency
    """
    from sparsebench.decide.pick import decide
    from sparsebench.decide.pick_text import WIDTH, decision_json, decision_text
    from sparsebench.decide.question import ask
    from sparsebench.points.points import sections
    from sparsebench.store.run_directory import load_run

    root = directory_of(run, runs_dir)
    found = load_run(root)
    asked = ask(
        sections(found),
        limits={
            "drop": max_drop,
            "size": max_size,
            "deflated_size": max_deflated_size,
            "ram": max_ram,
            "flash": max_flash,
            "macs": max_macs,
            "latency": max_latency,
        },
        minimize=minimize,
        maximize=maximize,
        then=then or (),
        strict=strict,
        exportable_only=not any_format,
        model=model,
        data=data,
        backend=backend,
        batch=batch,
        threads=threads,
    )
    decision = decide(found, *asked, accept_open=accept_open)
    command, exportable = "", False
    if decision.trial:
        from sparsebench.export import export_command

        elsewhere = ("--runs-dir", str(runs_dir)) if root != run and runs_dir != RUNS_DIR else ()
        try:
            command, exportable = export_command((str(run), *elsewhere), decision.trial, found.trials), True
        except SparsebenchError as error:
            command = str(error)
    width = min(WIDTH, terminal_width(WIDTH))
    typer.echo(decision_json(decision, command, exportable) if as_json else decision_text(decision, command, width))
    codes = {"picked": DONE, "open": GATE_FAILED, "nothing fits": GATE_FAILED, "timing open": NO_VERDICT}
    raise typer.Exit(DONE if decision.trial else codes[decision.outcome])


def compare(
    run_a: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_A",
            help="The run before: its name, or its directory. A bare name is looked for in --runs-dir first.",
            autocompletion=runs_that_begin,
        ),
    ],
    run_b: Annotated[
        Path, typer.Argument(metavar="RUN_B", help="The run after, likewise.", autocompletion=runs_that_begin)
    ],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="METRIC>LIMIT",
            help="A gate: exit code 1 where a metric got worse by more, as in latency_p50>5%; again for more gates.",
        ),
    ] = None,
    evidence: Annotated[
        str,
        typer.Option(
            "--evidence",
            metavar="KIND",
            help="What a gate asks for: significant (beyond the limit, and a change at 5 % over all rows), estimate "
            "(beyond the limit) or certain (the whole 95 % interval is).",
        ),
    ] = "significant",
    by: Annotated[
        Literal["point", "trial"],
        typer.Option("--by", help="Rows, and what gates judge: an operating point over its seeds, or each trial."),
    ] = "point",
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as for the summary of a CI job.")
    ] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Compare two runs trial by trial, paired where possible, and fail where a gate is broken.

    Metrics that gates may name, each with > and a limit: accuracy_drop and sparsity_drop (pp), latency_p50, latency_p95
    and macs (%), size, deflated_size, memory and peak_memory (% or kB). A gate is broken as soon as one row is.

    Exit codes: 0, all gates are kept; 1, one is broken; 2, usage; 3, a trial was done in the first run and is not in
    the second; 4, latency was asked for and is not settled: beyond the limit but not proven, INVALID, or another
    machine.

    Example: sparsebench compare before after --fail-on "accuracy_drop>0.5pp"
    """
    from sparsebench.decide.changes_text import json_text, markdown_text, table_text
    from sparsebench.decide.compare import compare_runs
    from sparsebench.decide.gates import judge, parse_gates
    from sparsebench.store.records import scale_of
    from sparsebench.store.run_directory import load_run

    runs = [load_run(directory_of(run, runs_dir)) for run in (run_a, run_b)]
    gates = parse_gates(fail_on or (), evidence, scale_of(runs[1]))
    compared = compare_runs(*runs)
    each_trial = by == "trial"
    verdicts = [judge(gate, compared, each_trial=each_trial) for gate in gates]
    if as_json:
        typer.echo(json_text(compared, verdicts))
    else:
        print_as = markdown_text if as_markdown else table_text
        typer.echo(print_as(compared, verdicts, each_trial))
    states = {verdict.state for verdict in verdicts}
    if "broken" in states:
        raise typer.Exit(GATE_FAILED)
    if gates and compared.lost:
        raise typer.Exit(TRIALS_FAILED)
    raise typer.Exit(NO_VERDICT if "open" in states else DONE)


def track(
    run: RunArgument,
    to: Annotated[Literal["mlflow"], typer.Option("--to", help="The tracker.")] = "mlflow",
    uri: Annotated[
        str | None,
        typer.Option("--uri", metavar="URI", help="Where the tracking store is; the folder mlruns here by default."),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            "--experiment", metavar="NAME", help="Name of the experiment; sparsebench/<name of the run> by default."
        ),
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Write a run's records to an experiment tracker: a run for the sweep, and one below it for each trial.

    Doing so again adds what is new and makes no duplicates.
    """
    del to  # there is one
    from sparsebench.store.run_directory import load_run
    from sparsebench.tracking.to_mlflow import track_in_mlflow

    done = track_in_mlflow(load_run(directory_of(run, runs_dir)), uri=uri, experiment=experiment)
    typer.echo(
        f"{done.created} trials added, {done.updated} brought up to date and {done.unchanged} left as they were in "
        f"experiment {done.experiment!r} of {done.uri}."
    )
