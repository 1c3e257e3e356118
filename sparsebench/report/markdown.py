"""The first page of a report, README.md: the answer, a table, two figures, and where the rest is.

All else stands on the pages behind it (``pages.py``), and nothing stands on two of them.
"""

from collections.abc import Mapping, Sequence

from sparsebench.points.points import Section
from sparsebench.report.caveats import told_apart
from sparsebench.report.excerpt import in_front
from sparsebench.report.figures.drawings import Drawing
from sparsebench.report.lines import answer_markdown, subject
from sparsebench.report.next_steps import facts_line, next_commands, run_words
from sparsebench.report.pages import PAGES, about, image
from sparsebench.report.tables import MOST_SETTINGS, front_table
from sparsebench.store.records import Run
from sparsebench.wording.scales import lost_words, subject_of
from sparsebench.wording.text import counted, escape, fence, folded

FIRST_FIGURES = ("pareto-size", "pareto-latency")
"""Kinds of the figures that stand on the first page."""

MOST_OPEN = 2
"""Networks and data sets up to which each has its figures unfolded."""

MOST_ROWS, FEWEST_ROWS = 12, 4
"""Rows of all tables of the first page together, and of each of them where there are many."""


def readme(run: Run, sections: Sequence[Section], figures: Mapping[int, Sequence[Drawing]]) -> str:
    """Return the first page as Markdown; ``figures`` are those of each section, by its place."""
    parts = [f"# {escape(run.record.name)}: pruning and quantization", *_answers(sections)]
    parts += _warnings(run, sections)
    parts.append(facts_line(run, sections))
    if commands := next_commands(sections, run_words(run)):
        parts.append(fence("\n".join(commands), "sh"))
    for place, section in enumerate(sections):
        parts += _section(section, figures.get(place, ()), len(sections))
    parts += ["## More", "\n".join(f"- [{name}]({name}): {about(run, page)}" for name, page in PAGES.items()), _DATA]
    return "\n\n".join(parts) + "\n"


_DATA = (
    "All numbers: [data.csv](data.csv), one row a trial; [latency.csv](latency.csv), one row a trial and batch size; "
    "[data.json](data.json), everything."
)


def _answers(sections: Sequence[Section]) -> list[str]:
    if not sections:
        return ["- **No answer:** The run has no trials."]
    if len(sections) == 1:
        return [answer_markdown(sections[0])]
    return [f"**{subject(section)}**\n\n{answer_markdown(section)}" for section in sections]


def _warnings(run: Run, sections: Sequence[Section]) -> list[str]:
    """Return what a decision may turn on, and how much more there is to know."""
    shown, others = told_apart(run, sections)
    lines = [f"- {text}" for text in shown]
    if others:
        lines.append(f"- {counted(len(others), 'note')} on details: [trials.md](trials.md#notes).")
    return ["## Warnings", "\n".join(lines)] if lines else []


def _section(section: Section, drawings: Sequence[Drawing], sections: int) -> list[str]:
    """Return the table and the figures of one model and data set."""
    title = f"## {subject(section)}" if sections > 1 else "## Results"
    if not section.shown:
        return [title, "No trial has finished yet; there is nothing to show."]
    points = in_front(section, max(FEWEST_ROWS, MOST_ROWS // sections))
    parts = [title, front_table(section, points), _under_the_table(section, len(points))]
    shown = [image(drawing) for drawing in drawings if drawing.kind in FIRST_FIGURES]
    if shown and sections > MOST_OPEN:
        return [*parts, folded(f"{subject_of(section.scale)} against size and latency", "\n\n".join(shown))]
    return [*parts, *shown]


def _under_the_table(section: Section, rows: int) -> str:
    where = "" if len(section.backends) > 1 else f" on {escape(section.backends[0])}"
    text = f"{rows} of {counted(len(section.shown), 'network')}{where}: named, [front](terms.md#front), baseline."
    if rows == len(section.shown):
        text = f"All {counted(rows, 'network')}{where}."
    text += f" [Loss](terms.md#loss): {lost_words(section.scale)} dense fp32."
    if section.settings:
        text += (
            " In brackets the [speedup](terms.md#speedup) over dense fp32"
            f"{' on ' + escape(section.backends[0]) if len(section.backends) > 1 else ''}, bold where "
            "[FASTER](terms.md#verdicts)."
        )
    if len(section.settings) > MOST_SETTINGS:
        text += " More batch sizes: [latency.md](latency.md)."
    return f"{text} All rows: [accuracy.md](accuracy.md), [size.md](size.md), [latency.md](latency.md)."
