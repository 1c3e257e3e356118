"""What commands print last: the answer, what failed, and the next command. Imports nothing that draws or trains."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import typer

from sparsebench.cli.conventions import terminal_width
from sparsebench.cli.foreground import command_line
from sparsebench.store.records import Run, StageRecord, TrialResult, failure_line
from sparsebench.wording.text import counted, shorten


def answer_text(run: Run, root: Path) -> str:
    """Return the answer of a run with its next commands, as wide as the terminal."""
    from sparsebench.report.ending import run_ending

    return run_ending(run, (str(root),), terminal_width())


def end_with_answer(run: Run, root: Path, out: Path | None) -> None:
    """Print the answer of a run, and where its report lies; the report is written before, unless ``out`` is None."""
    written = None
    if out is not None:
        from sparsebench.report.seal import renew_report

        written = renew_report(run, out, root)
    typer.echo(f"\n{answer_text(run, root)}")
    if written is not None:
        typer.echo(f"\nReport: {written}")


def failed_text(failed: Sequence[TrialResult], whose: str) -> str:
    """Return how many trials failed, and why the first of them did."""
    noun = whose.replace("trials", "trial", 1) if len(failed) == 1 else whose
    stage = failed[0].failed_stage
    reason = shorten(failure_line(stage)).rstrip(".") if stage else "no reason recorded"
    return f"{counted(len(failed), noun, noun)} failed: {reason}{' and others' if len(failed) > 1 else ''}."


def sensitivity_text(name: str, records: Sequence[StageRecord]) -> str:
    """Return which layers mind being pruned, and the command that gives them thresholds of their own."""
    from sparsebench.report.ending import lines_text, next_text
    from sparsebench.report.sensitivity import answers, threshold_of_its_own

    parts = []
    for subject, lines in answers(records):
        heading = [subject] if subject else []
        parts.append("\n".join([*heading, lines_text(lines, terminal_width())]))
    if found := threshold_of_its_own(records):
        layer, threshold = found
        own = f"prune.per_layer={{{json.dumps(layer)} = {threshold:g}}}"
        settings = ("--set", f"name={name}-per-layer", "--set", own)
        given = command_line().removeprefix("sparsebench sensitivity").strip()
        parts.append(next_text([" ".join(filter(None, ("sparsebench run", given, shlex.join(settings))))]))
    return "\n\n".join(parts)
