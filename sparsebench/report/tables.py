"""Tables of operating points in Markdown, one subject each, so that none is wider than a page."""

from collections.abc import Sequence

from sparsebench.points.drops import Drop, drop_text, limits_text
from sparsebench.points.latency import PeakMemory, Setting, speedup_text, verdict_text
from sparsebench.points.points import Point, Section
from sparsebench.report.answer import named, setting_name
from sparsebench.store.scales import Scale
from sparsebench.wording.numbers import DASH, decimal, kilobytes, mean_percent, percent, ratio, significant
from sparsebench.wording.scales import heading, loss_number, spread_number, value_number
from sparsebench.wording.text import escape, rows_table

TOGETHER = "‡"
"""Marks percentiles of calls so short that several are timed together."""

TEXT = {"network", "scheme", "backend", "seed", "verdict", "against eager", "exports to"}
"""Columns that hold no numbers."""

MOST_SETTINGS = 3
"""Batch sizes whose latency stands in the table beside the answer."""

Row = dict[str, str]


def who(section: Section, point: Point) -> Row:
    """Return the first cells of a row: which network it is of, and on which backend where there are several."""
    cells = {"network": escape(point.pruning), "scheme": escape(point.scheme)}
    return cells | ({"backend": escape(point.backend)} if len(section.backends) > 1 else {})


def front_table(section: Section, points: Sequence[Point]) -> str:
    """Return the table beside the answer: eight columns at most, the named networks first and in bold."""
    return rows_table(front_rows(section, points), TEXT)


def front_rows(section: Section, points: Sequence[Point]) -> list[Row]:
    """Return the rows of that table, in Markdown."""
    chosen, scale = named(section), section.scale
    roles = chosen.roles(section)
    rows = []
    for point in points:
        cells = escape(point.label if len(section.backends) > 1 else f"{point.pruning} · {point.scheme}")
        role = roles.get(id(point), "dense fp32" if point.is_baseline else "")
        if id(point) in roles:
            role += ", OPEN" if chosen.is_open(point) else ", PICKED"
        name = f"**{cells}** ({role})" if id(point) in roles else cells
        rows.append(
            {
                "network": name,
                heading(scale): value_number(scale, point.value.mean if point.value else None),
                lost_heading(scale): lost_cell(point),
                "deflated kB": kilobytes(point.deflated_file_bytes),
                **{
                    f"ms, {setting_name(setting, section)}": latency_cell(point, setting)
                    for setting in section.settings[:MOST_SETTINGS]
                },
                "exports to": _exports_to(point),
            }
        )
    return rows


def lost_heading(scale: Scale) -> str:
    """Return the heading over what is lost, with its unit."""
    return f"loss, {'points' if scale.share else scale.unit or scale.short} [95 %]"


def lost_cell(point: Point) -> str:
    """Return what a point loses, in percentage points, with its interval."""
    return "baseline" if point.is_baseline else _judged(point.drop)


def latency_cell(point: Point, setting: Setting) -> str:
    """Return milliseconds with the speedup over dense fp32; bold where it is FASTER."""
    timing = point.timing(setting)
    if timing is None:
        return DASH
    speed, shown = timing.reference, significant(timing.latency_ms.mean)
    if not speed.is_trusted:
        return f"{shown} (INVALID)"
    text = f"{shown} ({ratio(speed.speedup)})"
    return f"**{text}**" if speed.is_faster else text


def _exports_to(point: Point) -> str:
    return point.exports_to.suffix if point.exports_to else DASH


def accuracy_table(section: Section, points: Sequence[Point]) -> str:
    """Return the metric and what is lost; columns that would be empty are left out."""
    scale = section.scale
    drop, interaction = (f"{name} {scale.loss_unit}".rstrip() for name in ("drop", "interaction"))
    optional = {
        "top-5 %": any(point.top5 for point in section.shown),
        "worst class %": any(point.worst_class_recall for point in section.shown),
        "another training [95 %]": any(p.drop and p.drop.another_training for p in section.shown),
        f"{interaction} [95 %]": any(point.interaction for point in section.shown),
    }
    rows = [
        {
            **who(section, point),
            f"{heading(scale)} (mean ± std)": spread_number(scale, point.value),
            "top-5 %": mean_percent(point.top5),
            "worst class %": mean_percent(point.worst_class_recall),
            f"{drop}, these networks [95 %]": "baseline" if point.is_baseline else drop_text(point.drop),
            "another training [95 %]": DASH if point.is_baseline else _another_training(point.drop),
            f"{interaction} [95 %]": _judged(point.interaction_drop),
            "n": _seeds(point),
        }
        for point in points
    ]
    return rows_table([{name: row[name] for name in row if optional.get(name, True)} for row in rows], TEXT)


def _another_training(drop: Drop | None) -> str:
    return limits_text(drop.another_training, drop.paired, drop.scale) if drop else DASH


def _judged(drop: Drop | None) -> str:
    if drop is None:
        return DASH
    sure = drop.judged
    loss = loss_number(drop.scale, drop.loss, (sure.low, sure.high))
    return f"{loss} {limits_text(sure, drop.paired, drop.scale)}"


def _seeds(point: Point) -> str:
    evaluated = point.value.n if point.value else 0
    return str(evaluated) if evaluated == point.planned else f"{evaluated} of {point.planned}"


def size_table(section: Section, points: Sequence[Point]) -> str:
    """Return the sparsity reached and the sizes of files."""
    rows = [
        {
            **who(section, point),
            "sparsity asked": decimal(point.sparsity_asked, 4),
            "reached": decimal(point.sparsity.mean if point.sparsity else None, 4),
            "file kB": kilobytes(point.file_bytes),
            "× smaller": ratio(point.file_ratio),
            "deflated kB": kilobytes(point.deflated_file_bytes),
            "× smaller deflated": ratio(point.deflated_ratio),
            "compression ratio": ratio(point.compression_ratio),
        }
        for point in points
    ]
    return rows_table(rows, TEXT)


def compute_table(section: Section, points: Sequence[Point]) -> str:
    """Return what is computed, in which width, and in how much memory; columns that would be empty are left out."""
    shown = section.shown
    optional = {
        "theoretical speedup (MACs)": any(point.theoretical_speedup for point in shown),
        "int8 MACs %": any(point.int8_mac_fraction for point in shown),
        "working memory kB": any(point.working_memory_bytes for point in shown),
    }
    rows = [
        {
            **who(section, point),
            "theoretical speedup (MACs)": ratio(point.theoretical_speedup),
            "int8 weights %": percent(point.int8_fraction, 1),
            "int8 MACs %": percent(point.int8_mac_fraction, 1),
            "working memory kB": kilobytes(point.working_memory_bytes),
        }
        for point in points
    ]
    return rows_table([{name: row[name] for name in row if optional.get(name, True)} for row in rows], TEXT)


def speed_table(section: Section, setting: Setting, points: Sequence[Point]) -> str:
    """Return latencies, speedups and verdicts at one batch size and number of threads."""
    several = any(backend != "eager" for backend in section.backends)
    rows = []
    for point in points:
        if timing := point.timing(setting):
            row = {
                **who(section, point),
                "latency ms": significant(timing.latency_ms.mean),
                "speedup [95 %]": speedup_text(timing.own),
                "verdict": verdict_text(timing.own),
            }
            if several:
                row |= {"× eager fp32 [95 %]": speedup_text(timing.eager), "against eager": verdict_text(timing.eager)}
            rows.append(row)
    return rows_table(rows, TEXT)


def calls_table(section: Section, setting: Setting, points: Sequence[Point]) -> str:
    """Return the percentiles of single calls, throughput and memory at one batch size and number of threads."""
    rows = [
        {
            **who(section, point),
            "p95 ms": f"{significant(timing.p95_ms.mean)}{TOGETHER * (timing.calls_together > 1)}",
            "p99 ms": f"{significant(timing.p99_ms.mean)}{TOGETHER * (timing.calls_together > 1)}",
            "samples/s": significant(timing.throughput_per_s),
            "peak memory MB": _peak_text(timing.peak_memory),
        }
        for point in points
        if (timing := point.timing(setting))
    ]
    return rows_table(rows, TEXT)


def _peak_text(peak: PeakMemory | None) -> str:
    """Return the median over processes with the range that they span, in MB."""
    if peak is None:
        return DASH
    middle, low, high = (significant(value / 1e6, 2) for value in peak)
    return f"{middle} ({low}–{high})"
