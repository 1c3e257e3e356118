"""The command that says why a trial is slower or faster: ``explain``.

Thin over the library, and light: nothing heavy is imported before a command needs it.
"""

from typing import Annotated

import typer

from sparsebench.cli.conventions import (
    RUNS_DIR,
    AsJson,
    RunArgument,
    RunsDir,
    directory_of,
    terminal_width,
    whole_from,
)


def explain(
    run: RunArgument,
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL", help="Which trial: parts of its label, as in 'static 0.8', or the beginning of its key."
        ),
    ],
    other: Annotated[
        str | None,
        typer.Argument(metavar="OTHER", help="What it is compared with; dense fp32 on the same backend by default."),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option("--batch", metavar="N", parser=whole_from(1), help="Samples in one call; again for a second."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", parser=whole_from(1), help="Threads inside one operation.")
    ] = None,
    as_json: AsJson = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the code, and use the folders, that the run's records name.")
    ] = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Say where the time of one call of a trial goes, beside another's, and why it takes more or less.

    The runtime's own profiler is asked: what fell back to float, what conversions cost, which kernels are fallbacks,
    which channels do not fill a vector, and what another batch size changes.

    Example: sparsebench explain mine "static 0.8"
    """
    from sparsebench.explain.text import explanation_json, explanation_text
    from sparsebench.explain.trials import explain_trials

    found = explain_trials(
        directory_of(run, runs_dir), trial, other, batch_sizes=batch or (), threads=threads, trust=trust
    )
    typer.echo(explanation_json(found) if as_json else explanation_text(found, terminal_width()))
