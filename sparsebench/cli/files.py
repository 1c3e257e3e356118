"""The commands about networks as files: ``export`` writes one for its runtime, ``time`` compares several.

Thin over the library, and light: nothing heavy is imported before a command needs it.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparsebench.cli.conventions import DONE, GATE_FAILED, NO_VERDICT, RUNS_DIR, RunArgument, RunsDir, directory_of


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
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Write a trial as a file for its runtime, reload it in a fresh process, compare, and write a model card.

    Of fp32 trials, --to safetensors writes the weights alone: for code of one's own, or for model.weights of a sweep.
    """
    from sparsebench.export import export_trial

    done = export_trial(directory_of(run, runs_dir), trial, to, out, force=force)
    found = done.verification
    bits = "same bits" if found.bit_equal else f"outputs within {found.max_abs_difference:.3g}"
    typer.echo(
        f"{', '.join(map(str, done.files))}: verified on {found.samples:,} test samples, {bits}, "
        f"top-1 {100 * found.top1:.2f} % (recorded {100 * found.recorded_top1:.2f} %)."
    )


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
    from sparsebench.export.files.outcome import json_text, judge, parse_shapes, parse_verdicts
    from sparsebench.export.files.timed import compare_files, differing_feeds, open_files

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
