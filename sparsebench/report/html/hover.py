"""What a chart shows of a point under the pointer."""

import html

from sparsebench.points.latency import speedup_text, verdict_text
from sparsebench.points.points import Point, Section
from sparsebench.wording.numbers import decimal, kilobytes, limits, mean_percent, ratio, significant
from sparsebench.wording.text import counted, shorten


def safe(text: str, limit: int = 120) -> str:
    """Return text of a user as a chart shows it letter by letter; charts read a few HTML tags and entities."""
    return html.escape(shorten(text, limit), quote=False)


def hover(section: Section, point: Point) -> str:
    """Return the figures of a point, one a line."""
    lines = [f"<b>{safe(point.pruning)} · {safe(point.scheme)} · {safe(point.backend)}</b>"]
    if point.top1:
        lines.append(f"top-1 {mean_percent(point.top1)} % (n = {point.top1.n})")
    if point.is_baseline:
        lines.append("baseline")
    elif point.drop:
        drop = point.drop
        lines.append(f"drop {decimal(drop.pp)} pp {limits(drop.low_pp, drop.high_pp)}")
    if point.sparsity:
        lines.append(f"sparsity {decimal(100 * point.sparsity.mean)} %")
    if point.deflated_file_bytes is not None:
        smaller = f", {ratio(point.deflated_ratio)} smaller" if point.deflated_ratio else ""
        lines.append(f"{kilobytes(point.deflated_file_bytes)} kB deflated{smaller}")
    if point.effective_macs is not None:
        lines.append(f"{point.effective_macs:,.0f} MACs with a non-zero weight")
    timing = point.timing(section.setting)
    if timing:
        where = f"batch {timing.batch_size}, {counted(timing.threads, 'thread')}"
        lines.append(f"median {significant(timing.median_ms.mean)} ms, p95 {significant(timing.p95_ms.mean)} ({where})")
        speed = timing.reference
        lines.append(f"speedup {speedup_text(speed)} {verdict_text(speed)}")
    return "<br>".join(lines)
