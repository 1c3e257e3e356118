"""A card: what each scheme and runtime makes of one network, on one page; for a pull request, what changed too."""

import html
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sparsebench.decide.changes_text import json_text, markdown_text
from sparsebench.decide.compare import compare_runs
from sparsebench.decide.gates import Verdicts, judge, parse_gates
from sparsebench.points.baselines import FP32
from sparsebench.points.points import Point, Section, sections
from sparsebench.points.rows import finite, point_row
from sparsebench.report.answer import setting_name
from sparsebench.report.caveats import decisive
from sparsebench.report.files import explained, write_files
from sparsebench.report.layers import examples
from sparsebench.report.lines import subject, timing_state
from sparsebench.report.tables import TEXT, latency_cell, lost_cell, lost_heading
from sparsebench.store.records import Run, failure_line
from sparsebench.wording.numbers import DASH, kilobytes, percent, ratio
from sparsebench.wording.scales import heading, value_number
from sparsebench.wording.text import counted, escape, first_of, plain, rows_table, shorten

MOST_LAYERS = 4
"""Layers that are named with one reason."""

_HEADS = {*TEXT, "network", "scheme", "runtime"}


@dataclass(frozen=True)
class Part:
    """The rows of one network and data set, in Markdown, and what stands below them."""

    title: str
    facts: str
    rows: list[dict[str, str]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """A card of a run.

    Attributes:
        run: the run.
        before: what it is compared with; None for nothing.
        fail_on: gates on what changed, such as ``accuracy_drop>0.5pp``.
    """

    run: Run
    before: Run | None = None
    fail_on: tuple[str, ...] = ()

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """What stands on it of each network and data set."""
        return tuple(_part(self.run, section) for section in sections(self.run))

    @cached_property
    def verdicts(self) -> tuple[Verdicts, ...]:
        """What each gate found."""
        if self.before is None:
            return ()
        compared = compare_runs(self.before, self.run)
        return tuple(judge(gate, compared, each_trial=False) for gate in parse_gates(self.fail_on, "significant"))

    @property
    def markdown(self) -> str:
        """The card as Markdown."""
        texts = [f"# {escape(self.run.record.name)}: schemes × runtimes"]
        for part in self.parts:
            notes = "\n".join(f"- {note}" for note in part.notes)
            texts += [f"## {part.title}", part.facts, rows_table(part.rows, _HEADS), notes]
        texts += ["\n".join(f"- {text}" for text in decisive(self.run, sections(self.run)))]
        if self.before is not None:
            changes = markdown_text(compare_runs(self.before, self.run), self.verdicts, False)
            texts += ["## What changed", changes.replace("# ", "### ", 1)]
        return "\n\n".join(filter(None, texts)) + "\n"

    @property
    def html(self) -> str:
        """The card as a page by itself, without scripts."""
        body = [f"<h1>{html.escape(self.run.record.name)}: schemes × runtimes</h1>"]
        for part in self.parts:
            heads = "".join(f"<th>{_text(name)}</th>" for name in (part.rows[0] if part.rows else ()))
            rows = "".join(f"<tr>{''.join(_cell(*cell) for cell in row.items())}</tr>" for row in part.rows)
            notes = "".join(f"<li>{_text(note)}</li>" for note in part.notes)
            body.append(f"<h2>{_text(part.title)}</h2><p>{_text(part.facts)}</p>")
            body.append(f"<table><tr>{heads}</tr>{rows}</table><ul>{notes}</ul>")
        warnings = "".join(f"<li>{_text(text)}</li>" for text in decisive(self.run, sections(self.run)))
        body.append(f"<ul>{warnings}</ul>" if warnings else "")
        if self.before is not None:
            changes = markdown_text(compare_runs(self.before, self.run), self.verdicts, False)
            body.append(f"<h2>What changed</h2><pre>{html.escape(changes)}</pre>")
        return _PAGE.format(title=html.escape(self.run.record.name), body="\n".join(filter(None, body)))

    @property
    def json(self) -> str:
        """The card as JSON: points as in data.json, and what is not offered or failed, with its reason."""
        found = sections(self.run)
        content: dict[str, Any] = {
            "name": self.run.record.name,
            "points": [point_row(point) for section in found for point in section.shown],
            "not_offered": [
                {"scheme": one.trial.scheme, "backend": one.trial.backend, "reason": one.trial.not_offered}
                for one in self.run.trials
                if one.trial.not_offered
            ],
            "failed": [
                {"label": one.trial.label, "reason": failure_line(one.failed_stage)}
                for one in self.run.trials
                if one.failed_stage
            ],
            "changes": None,
        }
        if self.before is not None:
            content["changes"] = json.loads(json_text(compare_runs(self.before, self.run), self.verdicts))
        return json.dumps(finite(content), indent=1, ensure_ascii=False, default=str) + "\n"

    def __repr__(self) -> str:
        return self.markdown

    def _repr_html_(self) -> str:
        return self.html

    def write(self, folder: Path | str) -> Path:
        """Write ``card.md``, ``card.html`` and ``card.json`` into a folder; return the path of the first.

        Raises:
            SparsebenchError: where the folder cannot be written.
        """
        into = Path(folder)
        texts = {"card.html": self.html, "card.json": self.json, "card.md": self.markdown}
        with explained(into):
            write_files(into, {name: text.encode() for name, text in texts.items()})
        return into / "card.md"


def _part(run: Run, section: Section) -> Part:
    rows = [_row(section, point) for point in section.shown]
    return Part(subject(section), _facts(run, section), rows, tuple(_notes(section)))


def _row(section: Section, point: Point) -> dict[str, str]:
    pruned = any(not other.dense for other in section.shown)
    return {
        **({"network": escape(point.pruning)} if pruned else {}),
        "scheme": escape(point.scheme),
        "runtime": escape(point.backend),
        heading(section.scale): value_number(section.scale, point.value.mean if point.value else None),
        lost_heading(section.scale): lost_cell(point),
        "file kB": kilobytes(point.file_bytes),
        "× smaller": ratio(point.file_ratio),
        "int8 MACs %": percent(point.int8_mac_fraction, 1),
        **{f"ms, {setting_name(at, section)}": latency_cell(point, at) for at in section.settings},
        "exports to": point.exports_to.suffix if point.exports_to else DASH,
    }


def _facts(run: Run, section: Section) -> str:
    trained = next((trial.trained for trial in section.trials if trial.trained), None)
    environment = run.record.environment
    parts = [f"{escape(environment.cpu)}, {counted(environment.logical_cores, 'core')}"]
    if trained is not None:
        macs = "" if trained.macs is None else f", {trained.macs:,} MACs a sample"
        parts.insert(0, f"{counted(trained.parameters, 'parameter')}{macs}")
        parts.insert(1, counted(trained.test_samples, "test sample"))
    timed = f" {timing_state(section)} In brackets: speedup over dense fp32." if section.settings else ""
    return f"{' · '.join(parts)}.{timed}"


def _notes(section: Section) -> Iterator[str]:
    """Yield what is not int8 and why, then what is not offered, and what failed, each reason once."""
    for example in examples(section):
        if example.point.scheme == FP32 or not example.point.int8_fraction:
            continue
        by_reason: dict[str, list[str]] = defaultdict(list)
        for layer in example.layers:
            if layer.reason and layer.weights:
                by_reason[layer.reason].append(layer.name)
        for reason, names in by_reason.items():
            called = escape(first_of(names, MOST_LAYERS))
            label = f"{escape(example.point.scheme)} on {escape(example.point.backend)}"
            yield f"{label}: {counted(len(names), 'layer')} not int8 ({called}): {escape(shorten(reason))}"
    missing: dict[str, list[str]] = defaultdict(list)
    for trial in section.trials:
        if trial.trial.not_offered:
            missing[trial.trial.not_offered].append(f"{trial.trial.scheme} on {trial.trial.backend}")
        elif trial.failed_stage:
            missing[failure_line(trial.failed_stage)].append(f"{trial.trial.scheme} on {trial.trial.backend}")
    for reason, names in missing.items():
        yield f"Without {escape(', '.join(dict.fromkeys(names)))}: {escape(shorten(reason))}"


def _text(markdown: str) -> str:
    return html.escape(plain(markdown))


def _cell(name: str, markdown: str) -> str:
    text = f"<b>{_text(markdown)}</b>" if "**" in markdown else _text(markdown)
    return f"<td{'' if name in _HEADS else ' class=n'}>{text}</td>"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: schemes × runtimes</title>
<style>body{{font-family:sans-serif;max-width:75em;margin:2em auto;padding:0 1em}}table{{border-collapse:collapse}}
td,th{{border:1px solid #8886;padding:.3em .6em;text-align:left}}td.n{{text-align:right}}</style>
</head>
<body>
{body}
</body>
</html>
"""
