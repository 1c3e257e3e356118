"""What stands under an answer: of what it is, and what to type next."""

import math
import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise

from sparsebench.decide.choosing import default_limit, no_answer
from sparsebench.points.exportable import export_words
from sparsebench.points.points import Section
from sparsebench.report.answer import named
from sparsebench.report.lines import subject
from sparsebench.store.records import Run
from sparsebench.wording.text import clean, counted, escape, slug

Words = tuple[str, ...]
"""How a run is named on a command line: its directory, or its name and --runs-dir."""

MOST_COMMANDS = 6


def facts_line(run: Run, found: Sequence[Section]) -> str:
    """Return what was tried, on what and where, in a line of Markdown."""
    environment = run.record.environment
    done = sum(trial.status == "done" for trial in run.trials)
    left_out = sum(trial.status == "not offered" for trial in run.trials)
    wanted = len(run.trials) - left_out
    trials = (
        f"all {counted(wanted, 'trial')} done" if done == wanted else f"{done:,} of {counted(wanted, 'trial')} done"
    )
    if left_out:
        trials += f", {left_out:,} [not offered](trials.md#failed-and-not-offered)"
    parts = [
        *(subject(section) for section in found[:3]),
        f"{escape(environment.cpu)}, {counted(environment.logical_cores, 'core')}",
        *(f"torch {escape(version)}" for name, version in environment.versions.items() if name == "torch"),
        trials,
    ]
    return " · ".join(parts)


def run_words(run: Run) -> Words:
    """Return where a run lies as its own command says: below ``--runs-dir``, or in ``runs``."""
    try:
        words = shlex.split(clean(run.record.command))
    except ValueError:
        words = []
    folder = "runs"
    for word, after in pairwise([*words, ""]):
        option, _, value = word.partition("=")
        if option == "--runs-dir":
            folder = value or after
    return (f"{folder}/{clean(run.record.name)}",)


def next_commands(found: Sequence[Section], words: Words) -> list[str]:
    """Return the commands to go on with: pick with other limits, and export what the answer names.

    Args:
        found: the sections of a run.
        words: how the run is named on a command line.
    """
    return [command for section in found for command in _of_section(section, words, len(found))][:MOST_COMMANDS]


def _of_section(section: Section, words: Words, several: int) -> Iterator[str]:
    """Yield the commands for one model and data set."""
    if no_answer(section):
        return
    which = ("--model", clean(section.model), "--data", clean(section.data)) if several > 1 else ()
    chosen = named(section)
    losses = [point.drop.loss for point in section.shown if point.drop and not point.is_baseline]
    if not losses:
        return
    usual, scale = default_limit(section), section.scale
    least = math.ceil(min(losses)) if scale.share else float(f"{1.05 * min(losses):.2g}")
    limit = usual if chosen.candidates else max(usual, least)
    unit = "pp" if scale.share else scale.unit
    yield shlex.join(["sparsebench", "pick", *words, *which, "--max-drop", f"{limit:g}{unit}"])
    roles = chosen.roles(section)
    for point in chosen.points:
        role = roles[id(point)].partition(",")[0].partition(" ")[0]
        stem = "-".join((*(map(slug, (section.model, section.data)) if several > 1 else ()), role))
        if point.ships and (command := export_words(words, point.ships.trial, stem)):
            yield command
