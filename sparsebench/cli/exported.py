"""The commands on files: ``export`` a trial as one, ``time`` several of them.

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
    AsJson,
    RunArgument,
    RunsDir,
    directory_of,
    whole_from,
)


def export(
    run: RunArgument,
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL", help="Which trial: parts of its label, as in 'static 0.8', or the beginning of its key."
        ),
    ],
    to: Annotated[
        Literal["onnx", "openvino", "tflite", "pt2", "safetensors"], typer.Option("--to", help="Format of the file.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The file to write: .onnx, .xml, .tflite, .pt2 or .safetensors; a model card lands beside it.",
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the code, and use the folders, that the run's records name.")
    ] = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Write a trial as a file for its runtime, reload it in a fresh process, compare, and write a model card.

    Of fp32 trials, --to safetensors writes the weights alone: for code of one's own, or for model.weights of a sweep.

    Example: sparsebench export mine "fp32 0.8" --to onnx -o net.onnx
    """
    from sparsebench.export import export_trial
    from sparsebench.wording.scales import value_text

    done = export_trial(directory_of(run, runs_dir), trial, to, output, force=force, trust=trust)
    found = done.verification
    bits = "same bits" if found.bit_equal else f"outputs within {found.max_abs_difference:.3g}"
    typer.echo(
        f"{', '.join(map(str, done.files))}: verified on {found.samples:,} test samples, {bits}, "
        f"{found.scale.short} {value_text(found.scale, found.value)} (recorded "
        f"{value_text(found.scale, found.recorded)})."
    )


def time_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Two or more exported networks: .pt2, .onnx, .xml or .tflite.")
    ],
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="FILE", help="The one that others are compared with; the first by default."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", parser=whole_from(1), help="Samples in one call.")
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", parser=whole_from(1), help="Threads inside one operation.")
    ] = 1,
    seconds_cap: Annotated[
        float, typer.Option("--seconds-cap", metavar="S", help="Most seconds that it may take, if the least fits.")
    ] = 60.0,
    precision: Annotated[
        float,
        typer.Option("--precision", metavar="P", help="Stop before that once intervals are ± so wide, as a fraction."),
    ] = 0.006,
    band: Annotated[
        float, typer.Option("--band", metavar="B", help="Differences up to this fraction do not matter.")
    ] = 0.01,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", parser=whole_from(0), help="Of the random order of the rounds.")
    ] = 0,
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
    as_json: AsJson = False,
) -> None:
    """Compare the latencies of exported networks in pairs: interleaved, with 95 % intervals and verdicts.

    A .pt2 is run by PyTorch as it is, without a compiler; .onnx by ONNX Runtime, .xml by OpenVINO, .tflite by
    LiteRT.

    Exit codes: 0, done; 1, a file has another verdict than --fail-unless asks for; 2, usage; 4, the session is INVALID,
    or a verdict was asked for and there is none (INCONCLUSIVE, TOO FEW ROUNDS).

    Example: sparsebench time dense.onnx pruned.onnx --batch 32
    """
    from sparsebench.export.files import timed
    from sparsebench.export.files.asked import parse_shapes, parse_verdicts
    from sparsebench.progress.display import SessionLine

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
