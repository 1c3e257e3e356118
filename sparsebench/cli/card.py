"""The command ``card``: what each scheme and runtime makes of a trained network, on one page.

Thin over the library, and light: nothing heavy is imported before the command needs it.
"""

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.cli.conventions import (
    DONE,
    GATE_FAILED,
    NO_VERDICT,
    RUNS_DIR,
    TRIALS_FAILED,
    AsJson,
    RunsDir,
    directory_of,
    whole_from,
)


def card(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="A trained network: 'package.module:attribute', or a name such as torchvision:resnet18.",
        ),
    ],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="The data: a name, imagefolder:PATH, npz:PATH or a function of yours.")
    ],
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="Its checkpoint; what is published with a name by default."),
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option("--backend", metavar="NAME", help="Only this runtime; again for more.")
    ] = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option("--scheme", metavar="NAME", help="Only this scheme; again for more. fp32 is always there."),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            "--batch",
            metavar="N",
            parser=whole_from(1),
            help="Latency at so many samples; again for more. 1 by default.",
        ),
    ] = None,
    no_timing: Annotated[bool, typer.Option("--no-timing", help="Measure no latency.")] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A key of the config: data.options.size=224; again for more."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="RUN", help="The run of an earlier card: what changed is shown.")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on", metavar="METRIC>LIMIT", help="A gate on what changed, as of 'compare'; again for more."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Also write card.md, card.html and card.json there."),
    ] = None,
    as_json: AsJson = False,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="The name of the run.")] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Show what each scheme and runtime makes of a trained network: accuracy, size, latency and what is really int8.

    Nothing is trained. The training data calibrate, the test data are read once for each network.

    Exit codes: 0, done; 1, a gate is broken; 2, usage; 3, some networks failed; 4, a gate on latency is not settled.

    Example: sparsebench card my_project.model:trained imagefolder:photos --set data.options.size=224
    """
    from sparsebench.api.cards import card_run
    from sparsebench.cli.foreground import prints_to_stderr
    from sparsebench.report.card import Card
    from sparsebench.store.run_directory import load_run

    before = load_run(directory_of(against, runs_dir)) if against else None
    with prints_to_stderr():
        run = card_run(
            network,
            data,
            weights=weights,
            backends=backend or ["all"],
            schemes=["fp32", *(one for one in scheme if one != "fp32")] if scheme else (),
            batch_sizes=() if no_timing else (batch or (1,)),
            name=name,
            runs_dir=runs_dir,
            overrides=overrides or (),
        )
        made = Card(run, before, tuple(fail_on or ()))
        if output:
            typer.echo(f"Card: {made.write(output)}", err=True)
        printed = made.json if as_json else made.markdown
    typer.echo(printed, nl=False)
    states = {verdict.state for verdict in made.verdicts}
    failed = any(trial.status == "failed" for trial in run.trials)
    code = GATE_FAILED if "broken" in states else TRIALS_FAILED if failed else NO_VERDICT if "open" in states else DONE
    raise typer.Exit(code)
