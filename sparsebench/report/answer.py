"""The answer in one line: what is smallest and what is fastest among the points that lose little."""

from collections.abc import Sequence

from sparsebench.decide.choosing import MAX_DROP_PP, Picks, no_answer, pick
from sparsebench.points.baselines import EAGER
from sparsebench.points.latency import GRAVITY, SessionRow, Speed, sessions, speedup_text
from sparsebench.points.points import Point, Section
from sparsebench.statistics.verdicts import Limits, Validity, Verdict
from sparsebench.store.records import TrialRecord
from sparsebench.wording.numbers import decimal, kilobytes, limits, ratio, significant
from sparsebench.wording.sessions import session_text
from sparsebench.wording.text import counted, escape, first_of

DENSE = "dense · fp32"

ALSO_NAMED = 4
"""How many sessions of one state the first line spells out."""

NOT_TIMED = "No latency was measured."


def answer(section: Section) -> str:
    """Return the section's answer as one paragraph of Markdown."""
    none = no_answer(section)
    if none:
        return f"**{none}**"
    picks = pick(section)
    if picks.candidates == 0:
        lossy = [(p.drop.pp, p) for p in section.shown if p.drop and not p.is_baseline]
        _, least = min(lossy, key=lambda pair: pair[0], default=(0.0, None))
        if least is None:
            return "**No answer: only the dense fp32 network has finished.**"
        return (
            f"**Nothing stays within {MAX_DROP_PP:g} pp of dense fp32.** "
            f"The smallest loss is that of {_named(least)}: {_lost(least)}."
        )
    size, speed = _size(picks), _speed(picks, section)
    smallest, fastest = picks.smallest, picks.fastest
    if size and speed and smallest is fastest and smallest:
        found = f"{_named(smallest)} is both smallest and fastest: {size}; {speed}; {_lost(smallest)}"
    else:
        parts = []
        if size and smallest:
            parts.append(f"smallest file: {_named(smallest)}, {size}, {_lost(smallest)}")
        if speed and fastest:
            parts.append(f"lowest latency: {_named(fastest)}, {speed}, {_lost(fastest)}")
        elif picks.timed:
            parts.append(f"latency: {_not_faster(section)}")
        found = "; ".join(parts) or "neither size nor latency was measured"
    text = f"Within {MAX_DROP_PP:g} pp of dense fp32 (mean over seeds), {found}."
    if picks.candidates == 1:
        return text
    return f"{text} Best of {picks.candidates:,} points read on the same test set, so the loss is flattered."


def timing_note(sections: Sequence[Section]) -> str:
    """Return how far latencies may be trusted, what can be trusted least first, as one paragraph of Markdown.

    Of several sessions in one state it gives the farthest limits of their controls and the coarsest resolution.
    """
    found = [row for section in sections for row in sessions(section.trials)]
    parts = []
    for state in reversed(GRAVITY):
        rows = [row for row in found if row.measured.session.state is state]
        if rows:
            those = [row.measured.session for row in rows]
            known = [one.resolution for one in those if one.resolution is not None]
            text = session_text(
                state,
                Limits.around(one.control_limits for one in those),
                max(one.band for one in those),
                max(known) if len(known) == len(those) else None,
                _which(rows, found, sections),
                several=len(rows) > 1,
            )
            parts.append(f"**Timing is {text}**" if state is Validity.INVALID else f"Timing is {text}")
    return " ".join(parts) or NOT_TIMED


def _which(rows: Sequence[SessionRow], found: Sequence[SessionRow], sections: Sequence[Section]) -> str:
    """Return which sessions of a report are meant; empty where it has only one."""
    if len(found) == 1:
        return ""
    if len(rows) == len(found):
        return f"all {len(found)} sessions"
    where = first_of([session_name(row, sections) for row in rows], ALSO_NAMED)
    return f"{len(rows)} of {len(found)} sessions: {where}"


def subject(of: Section | SessionRow | TrialRecord) -> str:
    """Return which model it is, and on which data."""
    return f"{escape(of.model)} on {escape(of.data)}"


def session_name(row: SessionRow, sections: Sequence[Section]) -> str:
    """Return a session as it is told from the others of a report."""
    measured = row.measured
    name = f"{escape(row.backend)}, batch {measured.batch_size}, {counted(measured.threads, 'thread')}"
    return name if len(sections) < 2 else f"{subject(row)}, {name}"


def _not_faster(section: Section) -> str:
    if all(not t.own.is_trusted for p in section.shown if (t := p.timing(section.setting))):
        return "none can be called the lowest, for the timing is INVALID"
    return "no point was found FASTER than dense fp32"


def _named(point: Point) -> str:
    return f"**{escape(point.label)}**"


def _size(picks: Picks) -> str:
    point = picks.smallest
    if point is None:
        return ""
    compared = [f"{ratio(point.deflated_ratio)} smaller than dense fp32"] if point.deflated_ratio else []
    if picks.as_small:
        compared.append(f"but not than {_others(picks.as_small)} for every seed")
    return f"{kilobytes(point.deflated_file_bytes)} kB deflated{_aside(compared)}"


def _speed(picks: Picks, section: Section) -> str:
    point = picks.fastest
    timing = point.timing(section.setting) if point else None
    if timing is None or point is None:
        return ""
    own = timing.own if timing.own.verdict is not Verdict.BASELINE else None
    eager = timing.eager if point.backend != EAGER else None
    compared = [f"{speedup_text(speed)} against {_baseline(speed, point)}" for speed in (own, eager) if speed]
    if picks.as_fast:
        compared.append(f"not told apart from {_others(picks.as_fast)}, for the intervals overlap")
    return f"{significant(section.latency_ms(point))} ms at batch {timing.batch_size}{_aside(compared)}"


def _aside(compared: Sequence[str]) -> str:
    return f" ({', '.join(compared)})" if compared else ""


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
