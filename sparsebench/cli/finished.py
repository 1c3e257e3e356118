"""The commands for what a run has left: ``pick`` a trial, ``export`` it, ``time`` such files, ``compare``, ``track``.

Thin over the library, and light: nothing heavy is imported before a command needs it.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparsebench.cli.conventions import (
    DONE,
    GATE_FAILED,
    MOST,
    NO_VERDICT,
    RUNS_DIR,
    TRIALS_FAILED,
    RunArgument,
    RunsDir,
    directory_of,
)
from sparsebench.errors import SparsebenchError


def pick(
    run: RunArgument,
    max_drop: Annotated[
        str | None, typer.Option("--max-drop", metavar="1pp", help="Most top-1 that may be lost; 1pp by default.")
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
    accept_open: Annotated[
        bool,
        typer.Option("--accept-open", help="Name the best guess where the test set is too small to be sure."),
    ] = False,
    any_format: Annotated[bool, typer.Option("--any", help="Also name what cannot be exported.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Name the trial to ship, why, its runner-up, and the command that exports it.

    Networks are chosen on the validation split. The chosen one is PICKED if its 95 % interval on the test set keeps the
    limit on the drop, and OPEN if it may break it; then the number of test samples is given that would settle it. Of
    networks that are equally good, the one that loses least is named. Exit codes: 0, a trial is named; 1, nothing meets
    the limits, or the best guess is OPEN; 2, usage; 4, latency was asked for and was not measured, is INVALID, or may
    be no better than that of dense fp32.
    """
    from sparsebench.decide.pick import decide
    from sparsebench.decide.pick_text import decision_json, decision_text
    from sparsebench.decide.question import ask
    from sparsebench.points.points import sections
    from sparsebench.store.run_directory import load_run

    found = load_run(directory_of(run, runs_dir))
    asked = ask(
        sections(found),
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

        elsewhere = ("--runs-dir", str(runs_dir)) if not run.is_dir() and runs_dir != RUNS_DIR else ()
        try:
            command, exportable = export_command((str(run), *elsewhere), decision.trial, found.trials), True
        except SparsebenchError as error:
            command = str(error)
    typer.echo(decision_json(decision, command, exportable) if as_json else decision_text(decision, command))
    codes = {"picked": DONE, "open": GATE_FAILED, "nothing fits": GATE_FAILED, "timing open": NO_VERDICT}
    raise typer.Exit(DONE if decision.trial else codes[decision.outcome])


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
        Literal["point", "trial"],
        typer.Option("--by", help="Rows, and what gates judge: an operating point over its seeds, or each trial."),
    ] = "point",
    form: Annotated[Literal["table", "markdown", "json"], typer.Option("--format", help="How to print it.")] = "table",
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
    from sparsebench.decide.gates import judge, parse_gates
    from sparsebench.store.run_directory import load_run

    gates = parse_gates(fail_on or (), evidence)
    compared = compare_runs(*(load_run(directory_of(run, runs_dir)) for run in (run_a, run_b)))
    each_trial = by == "trial"
    verdicts = [judge(gate, compared, each_trial=each_trial) for gate in gates]
    if form == "json":
        typer.echo(json_text(compared, verdicts))
    else:
        print_as = markdown_text if form == "markdown" else table_text
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
    from sparsebench.store.run_directory import load_run
    from sparsebench.tracking.to_mlflow import track_in_mlflow

    done = track_in_mlflow(load_run(directory_of(run, runs_dir)), uri=uri, experiment=experiment)
    typer.echo(
        f"{done.created} trials added, {done.updated} brought up to date and {done.unchanged} left as they were in "
        f"experiment {done.experiment!r} of {done.uri}."
    )


def export(
    run: RunArgument,
    trial: Annotated[
        str,
        typer.Argument(metavar="TRIAL", help="Beginning of its key, or parts of its label: 'static 0.8'."),
    ],
    to: Annotated[Literal["onnx", "openvino", "pt2", "safetensors"], typer.Option("--to", help="Format of the file.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The file: .onnx, .xml, .pt2 or .safetensors; a card lands beside it.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the code, and use the folders, that the run's records name.")
    ] = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Write a trial as a file for its runtime, reload it in a fresh process, compare, and write a model card.

    Of fp32 trials, --to safetensors writes the weights alone: for code of one's own, or for model.weights of a sweep.
    """
    from sparsebench.export import export_trial

    done = export_trial(directory_of(run, runs_dir), trial, to, out, force=force, trust=trust)
    found = done.verification
    bits = "same bits" if found.bit_equal else f"outputs within {found.max_abs_difference:.3g}"
    typer.echo(
        f"{', '.join(map(str, done.files))}: verified on {found.samples:,} test samples, {bits}, "
        f"top-1 {100 * found.top1:.2f} % (recorded {100 * found.recorded_top1:.2f} %)."
    )


def time_command(
    files: Annotated[list[Path], typer.Argument(metavar="A B …", help="Exported networks: .pt2, .onnx, .xml.")],
    baseline: Annotated[str | None, typer.Option("--baseline", help="The file to compare with; the first.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, max=MOST, help="Samples in one call.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=MOST, help="Threads inside one operation.")] = 1,
    seconds_cap: Annotated[
        float, typer.Option("--seconds-cap", help="How long it may last, if the least fits.")
    ] = 60.0,
    precision: Annotated[float, typer.Option("--precision", help="Half-width of intervals at which it stops.")] = 0.006,
    band: Annotated[float, typer.Option("--band", help="Differences up to this fraction do not matter.")] = 0.01,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MOST, help="Of the random order of the rounds.")] = 0,
    cache: Annotated[
        Literal["hot", "cold"],
        typer.Option("--cache", help="hot: call follows call. cold: the caches are emptied before each call."),
    ] = "hot",
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
    session is INVALID, or a verdict was asked for with --fail-unless and there is none (INCONCLUSIVE, TOO FEW ROUNDS).
    1: another verdict.
    """
    from sparsebench.cli.progress import SessionLine
    from sparsebench.export.files import timed
    from sparsebench.export.files.asked import parse_shapes, parse_verdicts

    wanted, given = parse_verdicts(fail_unless), parse_shapes(shapes or ())
    opened = timed.open_files(files, batch=batch, shapes=given)
    for note in filter(None, (timed.differing_feeds(opened), timed.unconfined())):
        typer.echo(f"sparsebench: {note}", err=True)
    with SessionLine(f"timing {len(opened)} files, {seconds_cap:g} s at most") as line:
        comparison = timed.compare_files(
            opened,
            baseline=baseline,
            threads=threads,
            seconds_cap=seconds_cap,
            on_step=line.step,
            on_note=line.note,
            precision=precision,
            band=band,
            seed=seed,
            cache=cache,
        )
    typer.echo(timed.json_text(comparison, opened, cache) if as_json else str(comparison))
    judgement, why = timed.judge(comparison, wanted)
    if why:
        typer.echo(f"sparsebench: {why}", err=True)
    raise typer.Exit({"as asked": DONE, "otherwise": GATE_FAILED, "open": NO_VERDICT}[judgement])
