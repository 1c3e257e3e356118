"""Tables of operating points and of trials, in Markdown."""

from collections.abc import Sequence

from sparsebench.points.latency import Setting
from sparsebench.points.points import Point, Section, Timing
from sparsebench.points.text import drop_text, speedup_text, verdict_text
from sparsebench.wording.numbers import DASH, decimal, kilobytes, mean_percent, percent, ratio, significant
from sparsebench.wording.tables import rows_table
from sparsebench.wording.text import counted, escape

TOGETHER = "‡"
"""Marks percentiles of calls so short that several are timed together."""

TEXT = {"pruner", "scheme", "backend", "verdict", "against eager"}
"""Columns that hold no numbers."""


def points_table(section: Section, points: Sequence[Point]) -> str:
    """Return the main table: one row an operating point; columns that would be empty or say the same twice are not."""
    setting, shown = section.setting, section.shown
    where = f" (batch {setting[0]}, {counted(setting[1], 'thread')})" if setting else ""
    optional = {
        "top-5 %": any(point.top5 for point in shown),
        "theoretical speedup (MACs)": any(point.theoretical_speedup for point in shown),
        "int8 MACs %": any(point.int8_mac_fraction for point in shown),
        "working memory kB": any(point.working_memory_bytes for point in shown),
    }
    rows = [
        {
            "pruner": _pruner(point),
            "sparsity asked": decimal(point.sparsity_asked, 4),
            "reached": decimal(point.sparsity.mean if point.sparsity else None, 4),
            "scheme": escape(point.scheme),
            "backend": escape(point.backend),
            "top-1 % (mean ± std)": mean_percent(point.top1),
            "top-5 %": mean_percent(point.top5),
            "drop pp [95 %]": "baseline" if point.is_baseline else drop_text(point.drop),
            "interaction pp": decimal(point.interaction.mean if point.interaction else None),
            "file kB": kilobytes(point.file_bytes),
            "× vs fp32 file": ratio(point.file_ratio),
            "deflated kB": kilobytes(point.deflated_file_bytes),
            "compression ratio (non-zero × bits)": ratio(point.compression_ratio),
            "theoretical speedup (MACs)": ratio(point.theoretical_speedup),
            "int8 weights %": percent(point.int8_fraction, 1),
            "int8 MACs %": percent(point.int8_mac_fraction, 1),
            "working memory kB": kilobytes(point.working_memory_bytes),
            f"latency ms, median{where}": significant(timing.median_ms.mean if timing else None),
            "p95 ms": significant(timing.p95_ms.mean if timing else None),
            **_speeds(section, timing),
            "n": _seeds(point),
        }
        for point, timing in ((point, point.timing(setting)) for point in points)
    ]
    return rows_table([{name: row[name] for name in row if optional.get(name, True)} for row in rows], TEXT)


def _pruner(point: Point) -> str:
    return "dense" if point.dense else escape(point.pruner or DASH)


def _speeds(section: Section, timing: Timing | None) -> dict[str, str]:
    """Return the cells of a speed, and of that beside eager where there is another backend."""
    own, eager = (timing.own, timing.eager) if timing else (None, None)
    found = {"speedup [95 %]": speedup_text(own), "verdict": verdict_text(own)}
    if any(backend != "eager" for backend in section.backends):
        found |= {"× eager fp32 [95 %]": speedup_text(eager), "against eager": verdict_text(eager)}
    return found


def _seeds(point: Point) -> str:
    evaluated = point.top1.n if point.top1 else 0
    return str(evaluated) if evaluated == point.planned else f"{evaluated} of {point.planned}"


def latency_table(section: Section, setting: Setting, points: Sequence[Point]) -> str:
    """Return all about the latency at one batch size and number of threads; one row an operating point."""
    rows = [
        {
            "pruner": _pruner(point),
            "sparsity asked": decimal(point.sparsity_asked, 4),
            "scheme": escape(point.scheme),
            "backend": escape(point.backend),
            "median ms": significant(timing.median_ms.mean),
            "p95 ms": f"{significant(timing.p95_ms.mean)}{TOGETHER * (timing.calls_together > 1)}",
            "p99 ms": f"{significant(timing.p99_ms.mean)}{TOGETHER * (timing.calls_together > 1)}",
            "samples/s": significant(timing.throughput_per_s),
            **_speeds(section, timing),
            "peak memory MB": significant(timing.peak_memory_bytes and timing.peak_memory_bytes / 1e6),
        }
        for point in points
        if (timing := point.timing(setting))
    ]
    return rows_table(rows, TEXT)


def seeds_table(section: Section) -> str:
    """Return one row a trial that has an accuracy, with its own drop and interval."""
    rows = [
        {
            "pruner": _pruner(point),
            "threshold": f"{point.threshold:g}",
            "scheme": escape(point.scheme),
            "backend": escape(point.backend),
            "seed": str(seed.trial.trial.seed),
            "top-1 %": percent(scored.top1),
            "drop pp [95 %]": "baseline" if point.is_baseline else drop_text(seed.drop),
            "sparsity reached": decimal(trained.sparsity if (trained := seed.trial.trained) else None, 4),
            # The latency in data.csv, where it is of the batch size and number of threads that are shown.
            "latency ms": significant(
                next((t.measured.median_ms for t in seed.timings[:1] if t.setting == section.setting), None)
            ),
        }
        for point in section.shown
        for seed in point.seeds
        if (scored := seed.trial.evaluated) is not None
    ]
    return rows_table(rows, TEXT)
