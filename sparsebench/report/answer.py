"""The answer in one line: what is smallest and what is fastest among the points that lose little."""

import math
from collections.abc import Sequence

from sparsebench.decide.picks import MAX_DROP_PP, Picks, no_answer, pick
from sparsebench.points.baselines import EAGER
from sparsebench.points.latency import SessionRow, Speed, sessions
from sparsebench.points.points import Point, Section
from sparsebench.points.text import speedup_text
from sparsebench.statistics.verdicts import Verdict
from sparsebench.wording.numbers import decimal, kilobytes, limits, ratio, significant
from sparsebench.wording.text import counted, escape, listing

DENSE = "dense · fp32"

ALSO_NAMED = 4
"""How many INVALID sessions the first line spells out."""


def answer(section: Section) -> str:
    """Return the section's answer as one paragraph of Markdown."""
    none = no_answer(section)
    if none:
        return f"**{none}**"
    picks = pick(section)
    if picks.candidates == 0:
        least = min((p for p in section.shown if p.drop and not p.is_baseline), key=_drop, default=None)
        if least is None:
            return "**No answer: only the dense fp32 network has finished.**"
        return (
            f"**Nothing stays within {MAX_DROP_PP:g} pp of dense fp32.** "
            f"The smallest loss is that of {_named(least)}: {_lost(least)}."
        )
    size, speed = _size(picks), _speed(picks, section)
    if size and speed and picks.smallest is picks.fastest and picks.smallest:
        found = f"{_named(picks.smallest)} is both smallest and fastest: {size}; {speed}; {_lost(picks.smallest)}"
    else:
        parts = []
        if size and picks.smallest:
            parts.append(f"smallest file: {_named(picks.smallest)}, {size}, {_lost(picks.smallest)}")
        if speed and picks.fastest:
            parts.append(f"lowest latency: {_named(picks.fastest)}, {speed}, {_lost(picks.fastest)}")
        elif picks.timed:
            parts.append(f"latency: {_not_faster(section)}")
        found = "; ".join(parts) or "neither size nor latency was measured"
    text = f"Within {MAX_DROP_PP:g} pp of dense fp32 (mean over seeds), {found}."
    if picks.candidates == 1:
        return text
    return f"{text} Best of {picks.candidates:,} points read on the same test set, so the loss is flattered."


def invalid_note(sections: Sequence[Section]) -> str:
    """Return the sentence that some sessions cannot be trusted, empty where all can; nothing stands before it."""
    found = [row for section in sections for row in sessions(section.trials)]
    invalid = [row for row in found if not row.measured.session.valid]
    if not invalid:
        return ""
    where = listing([session_name(row, sections) for row in invalid[:ALSO_NAMED]])
    more = f" and {len(invalid) - ALSO_NAMED} more" if len(invalid) > ALSO_NAMED else ""
    worst = max(invalid, key=lambda row: abs(math.log(row.measured.session.control_ratio))).measured.session
    of = f"{len(invalid)} of {len(found)} sessions: {where}{more}" if len(found) > 1 else where
    return (
        f"**Timing is INVALID ({of}): a second copy of the baseline took {decimal(worst.control_ratio, 3)} "
        f"{limits(worst.control_low, worst.control_high, 3)} of its time, though it is the same. Trust no speedup "
        "there; time again on a quieter machine.**"
    )


def timing_note(sections: Sequence[Section]) -> str:
    """Return the sentence on how far latencies may be trusted; it belongs to the first line of a report."""
    found = [row.measured.session for section in sections for row in sessions(section.trials)]
    if not found:
        return "No latency was measured."
    if not all(session.valid for session in found):
        return "Verdicts are given for the other sessions." if any(session.valid for session in found) else ""
    band = max(session.band for session in found)
    count = counted(len(found), "session")
    return (
        f"Timing is VALID: in {count} of paired rounds, no second copy of the baseline was found different from it by "
        f"more than {100 * band:g} %."
    )


def session_name(row: SessionRow, sections: Sequence[Section]) -> str:
    """Return a session as it is told from the others of a report."""
    measured = row.measured
    name = f"{escape(row.backend)}, batch {measured.batch_size}, {counted(measured.threads, 'thread')}"
    return name if len(sections) < 2 else f"{escape(row.model)} on {escape(row.data)}, {name}"


def _not_faster(section: Section) -> str:
    """Return why no point is called the fastest."""
    if all(not t.own.valid for p in section.shown if (t := p.timing(section.setting))):
        return "none can be called the lowest, for the timing is INVALID"
    return "no point was found FASTER than dense fp32"


def _drop(point: Point) -> float:
    return point.drop.pp if point.drop else float("inf")


def _named(point: Point) -> str:
    return f"**{escape(point.label)}**"


def _size(picks: Picks) -> str:
    point = picks.smallest
    if point is None:
        return ""
    compared = [f"{ratio(point.deflated_ratio)} smaller than dense fp32"] if point.deflated_ratio else []
    if picks.as_small:
        compared.append(f"but not than {_others(picks.as_small)} for every seed")
    return _with(f"{kilobytes(point.deflated_file_bytes)} kB deflated", compared)


def _speed(picks: Picks, section: Section) -> str:
    point = picks.fastest
    timing = point.timing(section.setting) if point else None
    if timing is None or point is None:
        return ""
    compared = []
    if timing.own.verdict is not Verdict.BASELINE:
        compared.append(f"{speedup_text(timing.own)} against {_baseline(timing.own, point)}")
    if timing.eager and point.backend != EAGER:
        compared.append(f"{speedup_text(timing.eager)} against {_baseline(timing.eager, point)}")
    if picks.as_fast:
        compared.append(f"not told apart from {_others(picks.as_fast)}, for the intervals overlap")
    return _with(f"{significant(timing.median_ms.mean)} ms at batch {timing.batch_size}", compared)


def _with(figure: str, compared: Sequence[str]) -> str:
    return f"{figure} ({', '.join(compared)})" if compared else figure


def _others(points: Sequence[Point]) -> str:
    return escape(points[0].label) if len(points) == 1 else f"{len(points):,} others"


def _baseline(speed: Speed, point: Point) -> str:
    """Return what a speedup is against: dense fp32 in its own words, or whatever stood in for it."""
    dense, _, backend = speed.baseline.rpartition(" · ")
    if dense != DENSE:
        return escape(speed.baseline)
    return "dense fp32" if backend == point.backend else f"dense fp32 on {escape(backend)}"


def _lost(point: Point) -> str:
    drop = point.drop
    if drop is None:
        return "drop unknown"
    if point.is_baseline:
        return "the baseline of its backend"
    text = f"drop {decimal(drop.pp)} pp {limits(drop.low_pp, drop.high_pp)}"
    if drop.high_pp > MAX_DROP_PP:
        text += f", so that a loss of up to {decimal(drop.high_pp)} pp is not excluded"
    return text if point.top1 and point.top1.n > 1 else f"{text}, one seed"
