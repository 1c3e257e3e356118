"""A run as text for an interpreter, and as HTML for a notebook: what stands on the first page of its report."""

import base64
import html
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sparsebench.points.points import Section, sections
from sparsebench.report.caveats import decisive
from sparsebench.report.ending import answer_text
from sparsebench.report.excerpt import in_front
from sparsebench.report.figures.drawings import drawings
from sparsebench.report.lines import answer_lines, subject
from sparsebench.report.markdown import FIRST_FIGURES, MOST_ROWS
from sparsebench.report.tables import TEXT, front_rows
from sparsebench.store.records import Run
from sparsebench.wording.text import clean, counted, listing, plain

WIDTH = 110


def run_text(run: Run, root: Path) -> str:
    """Return the answer of a run in a few lines."""
    return "\n".join([_head(run, root), *filter(None, [answer_text(run, WIDTH)])])


def run_html(run: Run, root: Path, notes: Sequence[str] = ()) -> str:
    """Return the answer of a run, its table and its figures. Text of users is escaped, and figures are pictures."""
    found = sections(run)
    parts = [f"<p><b>{html.escape(_head(run, root))}</b></p>"]
    for section in found:
        if len(found) > 1:
            parts.append(f"<h4>{_text(subject(section))}</h4>")
        lines = (f"<li><b>{html.escape(line.head)}:</b> {_text(line.text)}</li>" for line in answer_lines(section))
        parts.append(f"<ul>{''.join(lines)}</ul>")
        parts.append(_table(section))
    warnings = [*decisive(run, found), *notes]
    if warnings:
        parts.append(f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in warnings)}</ul>")
    parts += [picture for section in found for picture in _pictures(section)]
    return "\n".join(parts)


def _head(run: Run, root: Path) -> str:
    counts = Counter(trial.status for trial in run.trials)
    others = [f"{counts[state]} {state}" for state in ("failed", "pending", "not offered") if counts[state]]
    done = f"{counts['done']} of {counted(len(run.trials), 'trial')} done"
    return f"Run {clean(run.record.name)}: {listing([done, *others])}, in {clean(str(root))}"


def _table(section: Section) -> str:
    rows = front_rows(section, in_front(section, MOST_ROWS)) if section.shown else []
    if not rows:
        return ""
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(_cell(name, text) for name, text in row.items())}</tr>" for row in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(name: str, markdown: str) -> str:
    text = f"<b>{_text(markdown)}</b>" if "**" in markdown else _text(markdown)
    return f'<td style="text-align:{"left" if name in TEXT else "right"}">{text}</td>'


def _text(markdown: str) -> str:
    return html.escape(plain(markdown))


def _pictures(section: Section) -> Iterator[str]:
    if not section.shown:
        return
    for drawing in drawings(section, None):
        if drawing.kind in FIRST_FIGURES:
            encoded = base64.b64encode(drawing.files["svg"]).decode()
            alt = html.escape(drawing.alt)
            yield f'<img alt="{alt}" style="max-width:48em" src="data:image/svg+xml;base64,{encoded}">'
