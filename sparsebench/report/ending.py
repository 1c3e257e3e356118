"""How a command ends in a terminal: the answer in the report's three lines, what to watch out for, and what is next."""

from collections.abc import Iterable, Sequence
from textwrap import fill

from sparsebench.points.points import sections
from sparsebench.report.caveats import decisive
from sparsebench.report.lines import Line, answer_lines, subject
from sparsebench.report.next_steps import Words, next_commands
from sparsebench.store.records import Run
from sparsebench.wording.text import clean, counted, plain

MOST_WARNINGS = 5
"""Warnings that a terminal shows; the report has all."""

NARROWEST, WIDEST = 40, 120
"""Characters between which lines are wrapped."""


def run_ending(run: Run, words: Words, width: int) -> str:
    """Return the answer of a run, its decisive warnings and the next commands, for a terminal of so many characters."""
    commands = next_commands(sections(run), words)
    return "\n\n".join(filter(None, [answer_text(run, width), next_text(commands) if commands else ""]))


def answer_text(run: Run, width: int) -> str:
    """Return the answer of a run and its decisive warnings."""
    found = sections(run)
    parts = []
    for section in found:
        heading = [plain(subject(section))] if len(found) > 1 else []
        parts.append("\n".join([*heading, lines_text(answer_lines(section), width)]))
    if warnings := decisive(run, found):
        parts.append(_warnings(warnings, width))
    return "\n\n".join(parts)


def lines_text(lines: Sequence[Line], width: int) -> str:
    """Return the lines of an answer with their heads in a column of their own."""
    column = max(len(line.head) for line in lines) + 2
    return "\n".join(_wrapped(plain(line.text), width, line.head.ljust(column), " " * column) for line in lines)


def next_text(commands: Iterable[str]) -> str:
    """Return commands to go on with; they are not wrapped, so that they can be pasted."""
    return "\n".join(["Next:", *(f"  {clean(command)}" for command in commands)])


def _warnings(warnings: Sequence[str], width: int) -> str:
    lines = [_wrapped(plain(text), width, "! ", "  ") for text in warnings[:MOST_WARNINGS]]
    more = len(warnings) - MOST_WARNINGS
    return "\n".join([*lines, *([f"! {counted(more, 'more warning')} in the report."] if more > 0 else [])])


def _wrapped(text: str, width: int, head: str, hanging: str) -> str:
    within = max(NARROWEST, min(WIDEST, width))
    return fill(
        text, within, initial_indent=head, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )
