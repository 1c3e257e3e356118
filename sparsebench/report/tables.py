"""Tables of operating points and of trials, in Markdown."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tabulate import tabulate

from sparsebench.report.comparisons import Drop, SeedResult
from sparsebench.report.numbers import (
    DASH,
    decimal,
    kilobytes,
    limits,
    mean_percent,
    percent,
    ratio,
    significant,
)
from sparsebench.report.points import Point, Section
from sparsebench.report.text import counted, escape

UNPAIRED = "†"

MOST_PADDED = 60
"""Rows up to which cells are padded so that the text lines up; GitHub cuts pages off that are padded beyond reason."""


class Column(NamedTuple):
    """A column of a table: its heading, what stands in it, and whether it holds numbers."""

    heading: str
    cell: Callable[[Point], str]
    numeric: bool = True


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool]) -> str:
    """Return a table of texts that are escaped already; columns of numbers are aligned to the right."""
    align = ["right" if number else "left" for number in numeric]
    listed = list(rows)
    table = tabulate(listed, list(headings), tablefmt="pipe", colalign=align, disable_numparse=True)
    if len(listed) <= MOST_PADDED:
        return table
    head, rule, *body = table.splitlines()
    return "\n".join(re.sub(" +", " ", line) for line in (head, re.sub("-+", "-", rule), *body))


def points_table(section: Section, points: Sequence[Point]) -> str:
    """Return the main table: one row an operating point."""
    columns = _columns(section)
    rows = ([column.cell(point) for column in columns] for point in points)
    return markdown_table([c.heading for c in columns], rows, [c.numeric for c in columns])


def _columns(section: Section) -> list[Column]:
    """Return the columns of the main table; those that would be empty or say the same twice are left out."""
    setting = section.setting
    where = f" (batch {setting[0]}, {counted(setting[1], 'thread')})" if setting else ""
    top5 = any(point.top5 for point in section.shown)
    counted_macs = any(point.theoretical_speedup for point in section.shown)
    int8_macs = any(point.int8_mac_fraction for point in section.shown)
    memory = any(point.working_memory_bytes for point in section.shown)
    elsewhere = any(backend != "eager" for backend in section.backends)

    def timed(column: Callable[[Point], str]) -> Callable[[Point], str]:
        return lambda point: DASH if point.timing(setting) is None else column(point)

    def latency(point: Point, field: str) -> str:
        return significant(getattr(point.timing(setting), field).mean)

    def speedup(point: Point, field: str) -> str:
        return ratio(getattr(point.timing(setting), field))

    return [
        Column("pruner", lambda p: "dense" if p.dense else escape(p.pruner or DASH), numeric=False),
        Column("sparsity asked", lambda p: decimal(p.sparsity_asked, 4)),
        Column("reached", lambda p: decimal(p.sparsity.mean if p.sparsity else None, 4)),
        Column("scheme", lambda p: escape(p.scheme), numeric=False),
        Column("backend", lambda p: escape(p.backend), numeric=False),
        Column("top-1 % (mean ± std)", lambda p: mean_percent(p.top1)),
        *([Column("top-5 %", lambda p: mean_percent(p.top5))] if top5 else []),
        Column("drop pp [95 %]", lambda p: "baseline" if p.is_baseline else drop_text(p.drop)),
        Column("interaction pp", lambda p: decimal(p.interaction.mean if p.interaction else None)),
        Column("file kB", lambda p: kilobytes(p.file_bytes)),
        Column("× vs fp32 file", lambda p: ratio(p.file_ratio)),
        Column("deflated kB", lambda p: kilobytes(p.deflated_file_bytes)),
        Column("compression ratio (non-zero × bits)", lambda p: ratio(p.compression_ratio)),
        *([Column("theoretical speedup (MACs)", lambda p: ratio(p.theoretical_speedup))] if counted_macs else []),
        Column("int8 weights %", lambda p: percent(p.int8_fraction, 1)),
        *([Column("int8 MACs %", lambda p: percent(p.int8_mac_fraction, 1))] if int8_macs else []),
        *([Column("working memory kB", lambda p: kilobytes(p.working_memory_bytes))] if memory else []),
        Column(f"latency ms, median{where}", timed(lambda p: latency(p, "median_ms"))),
        Column("p95 ms", timed(lambda p: latency(p, "p95_ms"))),
        Column("speedup", timed(lambda p: speedup(p, "speedup"))),
        *([Column("× eager fp32", timed(lambda p: speedup(p, "speedup_eager")))] if elsewhere else []),
        Column("n", _seeds),
    ]


def drop_text(drop: Drop | None) -> str:
    """Return a drop with its interval; a dagger marks an interval that is not paired."""
    if drop is None:
        return DASH
    return f"{decimal(drop.pp)} {limits(drop.low_pp, drop.high_pp)}{'' if drop.paired else UNPAIRED}"


def _seeds(point: Point) -> str:
    evaluated = point.top1.n if point.top1 else 0
    return str(evaluated) if evaluated == point.planned else f"{evaluated} of {point.planned}"


def latency_table(section: Section) -> str:
    """Return median latency and speedup at every batch size and number of threads; one row an operating point."""
    headings = ["pruner", "sparsity asked", "scheme", "backend"]
    for batch, threads in section.settings:
        headings += [f"batch {batch}, {counted(threads, 'thread')}: ms", "speedup"]
    rows = []
    for point in section.shown:
        row = [
            "dense" if point.dense else escape(point.pruner or DASH),
            decimal(point.sparsity_asked, 4),
            escape(point.scheme),
            escape(point.backend),
        ]
        for setting in section.settings:
            timing = point.timing(setting)
            row += [significant(timing.median_ms.mean), ratio(timing.speedup)] if timing else [DASH, DASH]
        rows.append(row)
    return markdown_table(headings, rows, [False, True, False, False] + [True] * (2 * len(section.settings)))


def seeds_table(section: Section) -> str:
    """Return one row a trial that has an accuracy, with its own drop and interval."""
    columns = "pruner, threshold, scheme, backend, seed, top-1 %, drop pp [95 %], sparsity reached, latency ms"
    rows = [
        [
            "dense" if point.dense else escape(point.pruner or DASH),
            f"{point.threshold:g}",
            escape(point.scheme),
            escape(point.backend),
            str(seed.trial.trial.seed),
            percent(scored.top1),
            "baseline" if point.is_baseline else drop_text(seed.drop),
            decimal(trained.sparsity if (trained := seed.trial.trained) else None, 4),
            significant(seed.timings[0].measured.median_ms) if _primary(seed, section) else DASH,
        ]
        for point in section.shown
        for seed in point.seeds
        if (scored := seed.trial.evaluated) is not None
    ]
    return markdown_table(columns.split(", "), rows, [False, True, False, False, True, True, True, True, True])


def _primary(seed: SeedResult, section: Section) -> bool:
    """Whether a trial's first latency, the one in data.csv, is of the batch size and threads that are shown."""
    return bool(seed.timings) and seed.timings[0].setting == section.setting
