"""The pages behind the first one: accuracy, size, latency, layers, trials, provenance, and what the words mean."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sparsebench.points.drops import UNPAIRED
from sparsebench.points.latency import sessions, setting_text
from sparsebench.points.points import Point, Section
from sparsebench.report.calibration import calibration_note, calibration_table
from sparsebench.report.caveats import told_apart
from sparsebench.report.checklist import checklist, checklist_markdown
from sparsebench.report.costs import costs_markdown
from sparsebench.report.excerpt import excerpt, excerpt_note
from sparsebench.report.figures.drawings import Drawing
from sparsebench.report.layers import audit_tables, layer_tables, shares_table, zeros_table
from sparsebench.report.lines import NOT_TIMED, session_name, subject
from sparsebench.report.microcontrollers import microcontroller_parts
from sparsebench.report.provenance import provenance, sessions_table
from sparsebench.report.tables import (
    TOGETHER,
    accuracy_table,
    calls_table,
    compute_table,
    size_table,
    speed_table,
)
from sparsebench.report.terms import terms
from sparsebench.report.trials import seeds_table, unfinished_table
from sparsebench.store.records import Run, scale_of
from sparsebench.store.scales import Scale
from sparsebench.wording.scales import subject_of
from sparsebench.wording.sessions import session_text
from sparsebench.wording.text import counted, escape, folded

MOST_POINTS = 60
"""Points from which on tables of all of them are folded by backend."""

MOST_SEED_ROWS = 600
"""Trials up to which every one has its row; beyond, they are in data.csv only."""


@dataclass(frozen=True)
class Material:
    """What pages are made of: the records, their sections, the figures of each, and a part on pytest-benchmark."""

    run: Run
    sections: Sequence[Section]
    figures: Mapping[int, Sequence[Drawing]]
    benchmarks: str = ""

    def figure(self, place: int, kind: str) -> str:
        """Return a figure of a section as Markdown, empty where it has none of that kind."""
        return next((image(drawing) for drawing in self.figures.get(place, ()) if drawing.kind == kind), "")

    def by_section(self, parts: Callable[[int, Section], Iterator[str]]) -> list[str]:
        """Return the parts of each section, under a heading where there are several."""
        found: list[str] = []
        for place, section in enumerate(self.sections):
            inside = [part for part in parts(place, section) if part] if section.shown else []
            heading = [f"## {subject(section)}"] if inside and len(self.sections) > 1 else []
            found += [*heading, *inside]
        return found or ["No trial has finished yet; there is nothing to show."]


class Page(NamedTuple):
    """A page: its heading, what stands on it in a few words, and how its text is made."""

    heading: str
    about: str
    text: Callable[[Material], list[str]]


def pages(material: Material) -> dict[str, str]:
    """Return every page behind the first one as Markdown, by its file name."""
    name, scale = escape(material.run.record.name), scale_of(material.run)
    return {
        file: "\n\n".join([f"# {name}: {_of(scale, page.heading)}", _BACK, *filter(None, page.text(material))]) + "\n"
        for file, page in PAGES.items()
    }


def about(run: Run, page: Page) -> str:
    """Return what stands on a page, in a run of its metric."""
    return _of(scale_of(run), page.about)


def _of(scale: Scale, words: str) -> str:
    return words if scale.is_accuracy else words.replace("accuracy", scale.short)


_BACK = "[Back to the answer](README.md)"


def image(drawing: Drawing) -> str:
    """Return a figure with its caption as Markdown."""
    path = f"figures/{drawing.stem}"
    return f"![{escape(drawing.alt)}]({path}.svg)\n\n*{drawing.caption}* [PNG]({path}.png)"


def _by_backend(section: Section, table: Callable[[Section, Sequence[Point]], str]) -> str:
    """Return a table of the points that tables show, folded by backend where they are many."""
    points = excerpt(section)
    if len(section.shown) <= MOST_POINTS:
        return table(section, points)
    return "\n\n".join(
        folded(
            f"{escape(backend)}: {counted(len(section.on(backend)), 'network')}",
            table(section, [point for point in points if point.backend == backend]),
        )
        for backend in section.backends
    )


def _accuracy(material: Material) -> list[str]:
    def parts(place: int, section: Section) -> Iterator[str]:
        yield excerpt_note(section, excerpt(section))
        yield _by_backend(section, accuracy_table)
        yield "±: sample standard deviation over n seeds. [Drop](terms.md#loss), [interaction](terms.md#interaction)."
        if any(point.drop and not point.drop.paired for point in section.shown):
            told = "which samples were right" if section.scale.is_accuracy else "what each sample got"
            yield f"{UNPAIRED}: unpaired, because the trainer does not tell {told}; it is wider."
        yield material.figure(place, "accuracy-sparsity")
        yield material.figure(place, "interaction")
        if len(section.calibrations) > 1:
            yield "**Calibration.** " + calibration_note(section)
            yield material.figure(place, "accuracy-calibration")
            yield folded(
                f"{subject_of(section.scale)} at every number of calibration batches", calibration_table(section)
            )

    return material.by_section(parts)


def _size(material: Material) -> list[str]:
    def parts(place: int, section: Section) -> Iterator[str]:
        yield _by_backend(section, size_table)
        yield "kB are 1000 bytes. [Deflated](terms.md#size), [compression ratio](terms.md#size)."
        yield material.figure(place, "size")
        yield "**Compute and memory**, counted and not timed:"
        yield _by_backend(section, compute_table)
        yield "[Theoretical speedup and working memory](terms.md#compute)."
        yield material.figure(place, "pareto-macs")
        yield from microcontroller_parts(section)

    return material.by_section(parts)


def _latency(material: Material) -> list[str]:
    def parts(place: int, section: Section) -> Iterator[str]:
        points = excerpt(section)
        if not section.settings:
            yield NOT_TIMED
            return
        yield "\n".join(f"- {line}" for line in _states(material, section))
        yield material.figure(place, "latency")
        for number, setting in enumerate(section.settings):
            where = setting_text(setting).strip()
            speeds = f"{speed_table(section, setting, points)}\n\n{_SPEEDS}"
            yield f"**Speed {where}**\n\n{speeds}" if not number else folded(f"Speed {where}", speeds)
            yield folded(
                f"Percentiles, throughput and memory {where}", f"{calls_table(section, setting, points)}\n\n{_CALLS}"
            )

    timed = sessions_table(material.run)
    return [
        *material.by_section(parts),
        *(["## Sessions", timed] if timed else []),
        *(["## Latency by pytest-benchmark", material.benchmarks] if material.benchmarks else []),
    ]


def _states(material: Material, section: Section) -> Iterator[str]:
    """Yield how far each session of a section may be trusted."""
    for row in sessions(section.trials):
        one = row.measured.session
        yield session_text(
            one.state, one.control_limits, one.band, one.resolution, of=session_name(row, material.sections)
        )


_SPEEDS = (
    "[Speedup](terms.md#speedup): over dense fp32 of the same backend, and over that of eager. "
    "[Verdicts](terms.md#verdicts) are read off the interval."
)
_CALLS = (
    f"p95 and p99 of all timed calls; {TOGETHER}: of means of several calls, each under 0.1 ms. Peak memory: what "
    "running the network adds to a process that has loaded it; median over processes (least–most)."
)


def _layers(material: Material) -> list[str]:
    titled = "**{}**\n\n{}".format

    def parts(place: int, section: Section) -> Iterator[str]:
        yield material.figure(place, "layer-sparsity")
        layers = [titled(*one) for one in layer_tables(section)]
        if layers:
            yield folded("Weights and MACs of each layer", "\n\n".join([_LAYERS, *layers]))
        audited = [titled(*one) for one in audit_tables(section)]
        if audited:
            yield titled("What was really quantized", f"{_SHARES}\n\n{shares_table(section)}")
            yield folded("What was really quantized, layer by layer", "\n\n".join([_AUDIT, *audited]))
        zeros = zeros_table(excerpt(section))
        if zeros:
            yield folded("Zeros before and after quantization", f"{_ZEROS}\n\n{zeros}")

    return material.by_section(parts)


_LAYERS = (
    "The trained networks of one seed, before quantization. MACs are multiply-accumulates for one sample; of two "
    "numbers, the first counts those with a non-zero weight."
)
_SHARES = (
    "How much of each network is int8: the weights held in 8 bits, and the multiply-accumulates computed in int8. "
    "Weights alone in int8 save memory and are multiplied in float."
)
_ZEROS = (
    "Shares of the weights of all layers found before and after quantization, without removed channels. Rounding to "
    "int8 makes zeros even where nothing was pruned: **by quantization alone** is what it adds to the dense network. "
    "**Without those** is the least that pruning may claim."
)
_AUDIT = (
    "The most pruned network of each scheme, first seed: bits of the weights, zeros after quantization, and the number "
    "of the reason why a layer is not int8."
)


def _trials(material: Material) -> list[str]:
    def parts(_: int, section: Section) -> Iterator[str]:
        rows = sum(seed.trial.evaluated is not None for point in section.shown for seed in point.seeds)
        if 0 < rows <= MOST_SEED_ROWS:
            yield folded(f"Every seed ({counted(rows, 'trial')})", seeds_table(section))
        elif rows:
            yield f"{counted(rows, 'trial')}: one row each in [data.csv](data.csv)."

    _, notes = told_apart(material.run, material.sections)
    return [
        "## Notes",
        "\n".join(f"- {text}" for text in notes) or "Nothing out of the ordinary.",
        "## Failed and not offered",
        unfinished_table(material.run) or "Every trial is done and none was left out.",
        "## Seeds",
        *material.by_section(parts),
    ]


def _provenance(material: Material) -> list[str]:
    run = material.run
    return [
        provenance(run),
        "## Reporting practice",
        _PRACTICE,
        checklist_markdown(checklist(run, material.sections)),
        "## Costs",
        "Each stage is counted once, however many trials share it.",
        costs_markdown(run),
    ]


_PRACTICE = (
    "What Blalock et al. 2020, “What is the State of Neural Network Pruning?”, ask of a report, computed from the "
    "records."
)

PAGES: dict[str, Page] = {
    "accuracy.md": Page("accuracy", "accuracy, drop and interaction of every network", _accuracy),
    "size.md": Page("size and compute", "files, compression, MACs and working memory", _size),
    "latency.md": Page("latency", "speedups with intervals and verdicts, percentiles, sessions", _latency),
    "layers.md": Page("layers", "zeros by layer, and what was really quantized", _layers),
    "trials.md": Page("trials", "notes, failures, every seed", _trials),
    "provenance.md": Page("provenance", "machine, versions, config, reporting practice, costs", _provenance),
    "terms.md": Page("terms", "what the words mean", lambda material: terms(material.sections)),
}
"""The pages by their file names, in the order in which the first page lists them."""
