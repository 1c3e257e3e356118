"""Tables of operating points and of trials, in Markdown."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from sparsebench.points.baselines import SeedResult
from sparsebench.points.latency import Setting
from sparsebench.points.points import Point, Section, Timing
from sparsebench.points.text import drop_text, speedup_text, verdict_text
from sparsebench.wording.numbers import (
    DASH,
    decimal,
    kilobytes,
    mean_percent,
    percent,
    ratio,
    significant,
)
from sparsebench.wording.tables import markdown_table
from sparsebench.wording.text import counted, escape

TOGETHER = "‡"
"""Marks percentiles of calls so short that several are timed together."""


class Column(NamedTuple):
    """A column of a table: its heading, what stands in it, and whether it holds numbers."""

    heading: str
    cell: Callable[[Point], str]
    numeric: bool = True


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

    def speed(point: Point) -> Timing:
        return cast("Timing", point.timing(setting))

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
        Column("speedup [95 %]", timed(lambda p: speedup_text(speed(p).own))),
        Column("verdict", timed(lambda p: verdict_text(speed(p).own)), numeric=False),
        *(
            [
                Column("× eager fp32 [95 %]", timed(lambda p: speedup_text(speed(p).eager))),
                Column("against eager", timed(lambda p: verdict_text(speed(p).eager)), numeric=False),
            ]
            if elsewhere
            else []
        ),
        Column("n", _seeds),
    ]


def _seeds(point: Point) -> str:
    evaluated = point.top1.n if point.top1 else 0
    return str(evaluated) if evaluated == point.planned else f"{evaluated} of {point.planned}"


def latency_table(section: Section, setting: Setting, points: Sequence[Point]) -> str:
    """Return all about the latency at one batch size and number of threads; one row an operating point."""
    elsewhere = any(backend != "eager" for backend in section.backends)
    headings = ["pruner", "sparsity asked", "scheme", "backend", "median ms", "p95 ms", "p99 ms", "samples/s"]
    headings += ["speedup [95 %]", "verdict", *(["× eager fp32 [95 %]", "against eager"] if elsewhere else [])]
    headings.append("peak memory MB")
    rows = []
    for point in points:
        timing = point.timing(setting)
        if timing is None:
            continue
        mark = TOGETHER if timing.calls_together > 1 else ""
        rows.append(
            [
                "dense" if point.dense else escape(point.pruner or DASH),
                decimal(point.sparsity_asked, 4),
                escape(point.scheme),
                escape(point.backend),
                significant(timing.median_ms.mean),
                f"{significant(timing.p95_ms.mean)}{mark}",
                f"{significant(timing.p99_ms.mean)}{mark}",
                significant(timing.throughput_per_s),
                speedup_text(timing.own),
                verdict_text(timing.own),
                *([speedup_text(timing.eager), verdict_text(timing.eager)] if elsewhere else []),
                DASH if timing.peak_memory_bytes is None else significant(timing.peak_memory_bytes / 1e6),
            ]
        )
    text = {"pruner", "scheme", "backend", "verdict", "against eager"}
    return markdown_table(headings, rows, [heading not in text for heading in headings])


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
