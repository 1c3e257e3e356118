"""The answer in three lines: the smallest, the fastest at each batch size, what they lose and how sure that is.

README.md, the page and the terminal show the same lines: they are Markdown, of which a terminal shows the plain text.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from sparsebench.decide.answering import Answer, Proof, State
from sparsebench.decide.choosing import default_limit, no_answer
from sparsebench.points.baselines import EAGER
from sparsebench.points.latency import GRAVITY, SessionRow, Speed, sessions
from sparsebench.points.points import Point, Section
from sparsebench.report.answer import Fastest, Named, named, setting_name
from sparsebench.statistics.verdicts import Validity, Verdict
from sparsebench.store.records import TrialRecord
from sparsebench.store.scales import Scale
from sparsebench.wording.numbers import DASH, decimal, kilobytes, limits, ratio, significant
from sparsebench.wording.scales import loss_limits, loss_number, points_of
from sparsebench.wording.sessions import UNKNOWN, percent_text
from sparsebench.wording.text import counted, escape, listing

DENSE = "dense · fp32"

NOT_TIMED = "No latency was measured."


class Line(NamedTuple):
    """One line of an answer: what it is about, and what it says."""

    head: str
    text: str


def answer_lines(section: Section) -> list[Line]:
    """Return the answer of a section: three lines, or one that says why there is no answer."""
    if why := no_answer(section):
        why = why.removeprefix("No answer: ")
        return [Line("No answer", f"{why[0].upper()}{why[1:]} {timing_state(section)}")]
    found = named(section)
    if not found.candidates:
        return _nothing(section)
    return [
        Line("Smallest", f"{_smallest(found)} {timing_state(section)}"),
        Line("Fastest", _fastest(section, found)),
        Line("Loss", " ".join(_loss(section, found))),
    ]


def answer_markdown(section: Section) -> str:
    """Return the answer as a list of Markdown."""
    return "\n".join(f"- **{line.head}:** {line.text}" for line in answer_lines(section))


def timing_state(section: Section) -> str:
    """Return in a sentence how far the section's latencies may be trusted; the worst state is the one that counts."""
    found = [row.measured.session for row in sessions(section.trials)]
    if not found:
        return NOT_TIMED
    state = max((one.state for one in found), key=GRAVITY.index)
    those = [one for one in found if one.state is state]
    some = "" if len(those) == len(found) else f" in {len(those)} of {counted(len(found), 'session')}"
    if state is Validity.INVALID:
        return f"**Timing is INVALID{some}: ignore every speedup measured there.**"
    known = [one.resolution for one in those if one.resolution is not None and one.resolution <= UNKNOWN]
    coarsest = percent_text(max(known)) if known else None
    if state is Validity.NOISY:
        finds = f": it cannot find differences below {coarsest} %" if coarsest else ""
        return f"**Timing is NOISY{some}**{finds}."
    finds = f": it finds differences above {coarsest} %" if coarsest else ""
    return f"Timing is VALID{finds}."


def subject(of: Section | SessionRow | TrialRecord) -> str:
    """Return which model it is, and on which data."""
    return f"{escape(of.model)} on {escape(of.data)}"


def session_name(row: SessionRow, found: Sequence[Section]) -> str:
    """Return a session as it is told from the others of a report."""
    measured = row.measured
    name = f"{escape(row.backend)}, batch {measured.batch_size}, {counted(measured.threads, 'thread')}"
    return name if len(found) < 2 else f"{subject(row)}, {name}"


def lost_text(point: Point) -> str:
    """Return what a point loses, with its interval."""
    if point.is_baseline:
        return "nothing, it is dense fp32"
    drop = point.drop
    if drop is None:
        return "unknown"
    sure = drop.judged
    sure_text = loss_limits(drop.scale, sure.low, sure.high)
    return (
        f"{loss_number(drop.scale, drop.loss, (sure.low, sure.high))} {sure_text}{'' if drop.paired else ' (unpaired)'}"
    )


def _named(point: Point) -> str:
    return f"**{escape(point.label)}**"


def _smallest(found: Named) -> str:
    point = found.smallest
    beaten = _cannot_be_exported(found.smaller, lambda p: f"{kilobytes(p.deflated_file_bytes)} kB")
    if point is None:
        return f"nothing that can be exported is smaller than dense fp32.{beaten}"
    smaller = f", {ratio(point.deflated_ratio)} smaller than dense fp32" if point.deflated_ratio else ""
    size = f"{kilobytes(point.deflated_file_bytes)} kB deflated{smaller}"
    open_one = _but_open("Smaller", found.size, lambda p: f"{kilobytes(p.deflated_file_bytes)} kB")
    return f"{_named(point)}, {size}, exports to {_format(point)}.{open_one}{beaten}"


def _cannot_be_exported(point: Point | None, shown: Callable[[Point], str]) -> str:
    return f" {escape(point.label)} has {shown(point)} but cannot be exported." if point else ""


def _but_open(head: str, found: Answer, shown: Callable[[Point], str]) -> str:
    """Return what would be better and may break its limit, where what is named is known to keep it."""
    better, proof = found.better, found.better_proof
    if better is None or proof is None:
        return ""
    return f" {head}, but OPEN: {escape(better.label)}, {shown(better)}, loses {_proved(proof)}."


def _format(point: Point) -> str:
    return point.exports_to.suffix if point.exports_to else "nothing"


def _fastest(section: Section, found: Named) -> str:
    """Return the fastest at each batch size; batch sizes with the same answer stand together."""
    if not found.fastest:
        return "not measured."
    grouped: dict[tuple[int, int, int, bool], list[Fastest]] = {}
    for one in found.fastest:
        key = (id(one.point), id(one.beaten_by), id(one.found.better), one.unknown)
        grouped.setdefault(key, []).append(one)
    first, *others = (_one_fastest(section, found, group) for group in grouped.values())
    return " ".join([first, *(text[:1].upper() + text[1:] for text in others)])


def _one_fastest(section: Section, found: Named, group: Sequence[Fastest]) -> str:
    where = f"at {listing([setting_name(one.setting, section) for one in group])}"
    first = group[0]
    if first.unknown:
        return f"unknown {where}: the timing is INVALID."
    if first.point is None:
        beaten = _cannot_be_exported(first.beaten_by, lambda p: _brief_speedup(p, first))
        return f"nothing that can be exported is faster than dense fp32 {where}.{beaten}"
    point = first.point
    places = listing([f"{_speedup(section, point, one)} at {setting_name(one.setting, section)}" for one in group])
    others = max(one.equals for one in group)
    as_fast = f" {counted(others, 'other is', 'others are')} as fast." if others else ""
    also = "" if point is found.smallest else f", exports to {_format(point)}"
    open_one = _but_open("Faster", first.found, lambda p: _brief_speedup(p, first))
    return f"{_named(point)}, {places}{also}.{as_fast}{open_one}"


def _brief_speedup(point: Point, one: Fastest) -> str:
    timing = point.timing(one.setting)
    return f"{ratio(timing.reference.speedup if timing else None)} the speed"


def _speedup(section: Section, point: Point, one: Fastest) -> str:
    """Return milliseconds and speedups: over dense fp32 of eager, and of the point's own backend."""
    timing = point.timing(one.setting)
    if timing is None:
        return DASH
    own = timing.own if timing.own.verdict is not Verdict.BASELINE else None
    eager = timing.eager if point.backend != EAGER else None
    first, *rest = [speed for speed in (eager, own) if speed] or [timing.reference]
    digits = 2 if first.speedup < 10 else 1
    sure = f"{decimal(first.speedup, digits)}× {limits(first.low, first.high, digits)}"
    parts = [f"{sure} the speed of {_baseline(section, first)}"]
    parts += [f"{ratio(speed.speedup)} that of {_baseline(section, speed)}" for speed in rest]
    return f"{significant(timing.latency_ms.mean)} ms ({', '.join(parts)})"


def _baseline(section: Section, speed: Speed) -> str:
    """Return what a speedup is against: dense fp32 in its own words, or whatever stood in for it."""
    dense, _, backend = speed.baseline.rpartition(" · ")
    if dense != DENSE:
        return escape(speed.baseline)
    return f"dense fp32 on {escape(backend)}" if len(section.backends) > 1 else "dense fp32"


def _loss(section: Section, found: Named) -> Iterator[str]:
    """Yield what the named networks lose, how sure that is, and what more loss would buy."""
    roles = found.roles(section)
    lost = [f"{roles[id(one.point)]} {_proved(one.proof)}" for one in found.answers]
    if lost:
        yield f"{'; '.join(lost)}."
    else:
        yield f"{counted(found.candidates, 'network')} within {_limit(section)} of dense fp32, and nothing gained."
    if any(point.ships for point in found.points):
        yield _how_sure(section, found)
    limit = 2 * default_limit(section)
    twice = named(section, limit).size
    if twice.point is not None and twice.point not in (found.smallest, found.size.better):
        size = kilobytes(twice.point.deflated_file_bytes)
        yield (
            f"With {_amount(section.scale, limit)} to lose: {escape(twice.point.label)}, {size} kB, loses "
            f"{_proved(twice.proof)}."
        )


def _amount(scale: Scale, loss: float) -> str:
    """Return a round loss in words: ``2 points``, ``0.5 mm``."""
    return f"{loss:g} point{'s' * (loss != 1)}" if scale.share else f"{loss:g} {scale.unit or scale.short}"


def _limit(section: Section) -> str:
    """Return the loss within which networks are named: ``1 point``, ``0.43 mm``."""
    return _amount(section.scale, default_limit(section))


def _proved(proof: Proof | None) -> str:
    """Return what the network that ships loses, with its interval, and whether it is known to keep its limit."""
    if proof is None:
        return "unknown"
    if proof.drop is None:
        return "nothing, it is dense fp32"
    unpaired = "" if proof.drop.paired else " (unpaired)"
    scale = proof.scale
    loss = loss_number(scale, proof.loss, (proof.low, proof.high))
    lost = f"{loss} {loss_limits(scale, proof.low, proof.high)}{unpaired}, {proof.state}"
    if proof.state is State.PICKED:
        return lost
    needed = proof.samples_needed
    settled = f"{needed:,} test samples would settle it" if needed else "too close to the limit to settle"
    return f"{lost} ({settled})"


def _how_sure(section: Section, found: Named) -> str:
    """Return which networks and samples the intervals are of, and how the choice was made."""
    ships = [point.ships.trial for point in found.points if point.ships]
    seeds = sorted({trial.trial.seed for trial in ships})
    samples = sorted({e.samples for trial in ships if (e := trial.evaluated) is not None})
    read = " or ".join(f"{count:,}" for count in samples) or "no"
    several, of = len(seeds) > 1, listing([str(seed) for seed in seeds])
    networks = f"networks of seeds {of} lose" if several else f"network of seed {of} loses"
    what = points_of(section.scale).removeprefix("percentage ")
    text = f"{what[:1].upper()}{what[1:]} that the {networks} on {read} test samples, with 95 % intervals."
    if found.candidates > 1 and section.chosen_on == "test":
        text += f" Without validation results, the best of {found.candidates:,} was chosen on the test set itself."
    return text


def _nothing(section: Section) -> list[Line]:
    lossy = [(p.drop.loss, place, p) for place, p in enumerate(section.shown) if p.drop and not p.is_baseline]
    if not lossy:
        return [Line("No answer", f"Only the dense fp32 network has finished. {timing_state(section)}")]
    within = [p for _, _, p in lossy if p.drop and p.drop.loss <= default_limit(section)]
    limit = f"within {_limit(section)} of dense fp32"
    why = f"nothing stays {limit}."
    if within:
        why = f"nothing {limit} can be exported."
    if any(point.exports_to for point in within):
        why = f"nothing that can be exported stays {limit} in the seed that would ship."
    _, _, least = min(lossy)
    return [
        Line("Smallest", f"{why} {timing_state(section)}"),
        Line("Fastest", "none, for the same reason."),
        Line("Loss", f"the least is that of {escape(least.label)}, {lost_text(least)} {points_of(section.scale)}."),
    ]
