"""The answer in one line: what is smallest and what is fastest among the points that lose little."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.report.numbers import decimal, kilobytes, limits, ratio, significant
from sparsebench.report.points import Point, Section
from sparsebench.report.text import escape

MAX_DROP_PP = 1.0
"""Largest mean drop of top-1 accuracy, in percentage points, with which a point may be picked."""

TELLABLE = 1.1
"""Smallest speedup that is called one. Unpaired loops on a shared machine differ by several percent for no reason, and
the lowest of many medians is the luckiest of them."""

LOOP = "loop"
INDICATIVE = "Latency is indicative (unpaired loop): no verdict on speed is given."


@dataclass(frozen=True)
class Picks:
    """The chosen points; None where nothing qualifies. ``candidates`` counts the points chosen from.

    ``gain`` is by how much the lowest latency is below that of the dense fp32 network on the first backend, a ratio;
    where it is below ``TELLABLE`` no point is called the fastest.
    """

    smallest: Point | None
    fastest: Point | None
    gain: float | None
    candidates: int


def pick(section: Section) -> Picks:
    """Choose the smallest deflated file and the lowest latency among points that lose at most ``MAX_DROP_PP``.

    Only what was compressed can be chosen, or the dense network on another backend than the first; where two points
    are equally small or fast, the one that loses less is. A latency that is hardly below the dense network's is none.
    """
    reference = section.shown[0].backend if section.shown else None
    kept = [
        point
        for point in section.shown
        if point.drop is not None
        and point.drop.pp <= MAX_DROP_PP
        and not (point.is_baseline and point.backend == reference)
    ]
    sized = [(p.deflated_file_bytes, _drop(p), i) for i, p in enumerate(kept) if p.deflated_file_bytes is not None]
    timed = [(ms, _drop(p), i) for i, p in enumerate(kept) if (ms := _median_ms(p, section)) is not None]
    dense = [_median_ms(point, section) for point in section.shown if point.is_baseline and point.backend == reference]
    gain = dense[0] / min(timed)[0] if timed and dense and dense[0] else None
    return Picks(
        smallest=kept[min(sized)[2]] if sized else None,
        fastest=kept[min(timed)[2]] if timed and (gain is None or gain >= TELLABLE) else None,
        gain=gain,
        candidates=len(kept),
    )


def answer(section: Section) -> str:
    """Return the section's answer as one paragraph of Markdown."""
    if not section.shown:
        return "**No trial has finished, so there is no answer yet.**"
    if all(point.drop is None for point in section.shown):
        return "**No answer: without a finished dense fp32 trial, nothing can be compared.**"
    if any(point.is_baseline and point.chance for point in section.shown):
        return "**No answer: the dense network cannot be told from guessing, so there is no accuracy to lose.**"
    picks = pick(section)
    if picks.candidates == 0:
        least = min((p for p in section.shown if p.drop and not p.is_baseline), key=_drop, default=None)
        if least is None:
            return "**No answer: only the dense fp32 network has finished.**"
        return (
            f"**Nothing stays within {MAX_DROP_PP:g} pp of dense fp32.** "
            f"The smallest loss is that of {_named(least)}: {_lost(least)}."
        )
    size, speed = _size(picks.smallest), _speed(picks.fastest, section)
    if size and speed and picks.smallest is picks.fastest and picks.smallest:
        found = f"{_named(picks.smallest)} is both smallest and fastest: {size}; {speed}; {_lost(picks.smallest)}"
    else:
        parts = []
        if size and picks.smallest:
            parts.append(f"smallest file: {_named(picks.smallest)}, {size}, {_lost(picks.smallest)}")
        if speed and picks.fastest:
            parts.append(f"lowest latency: {_named(picks.fastest)}, {speed}, {_lost(picks.fastest)}")
        elif picks.gain is not None:
            parts.append(
                f"latency: no point is faster than dense fp32 by the {100 * (TELLABLE - 1):.0f} % that unpaired loops "
                f"can tell (the lowest median is {ratio(picks.gain)})"
            )
        found = "; ".join(parts) or "neither size nor latency was measured"
    text = f"Within {MAX_DROP_PP:g} pp of dense fp32 (mean over seeds), {found}."
    if picks.candidates == 1:
        return text
    return f"{text} Best of {picks.candidates:,} points read on the same test set, so the loss is flattered."


def timing_note(sections: Sequence[Section]) -> str:
    """Return the sentence on how far latencies may be trusted; it belongs to the first line of a report."""
    protocols = {m.protocol for s in sections for trial in s.trials for m in trial.measured}
    if not protocols:
        return "No latency was measured."
    if protocols == {LOOP}:
        return INDICATIVE
    return f"Latency protocols: {', '.join(escape(name) for name in sorted(protocols))}; speedups are unpaired."


def _median_ms(point: Point, section: Section) -> float | None:
    timing = point.timing(section.setting)
    return timing.median_ms.mean if timing else None


def _drop(point: Point) -> float:
    return point.drop.pp if point.drop else float("inf")


def _named(point: Point) -> str:
    return f"**{escape(point.label)}**"


def _size(point: Point | None) -> str:
    if point is None:
        return ""
    text = f"{kilobytes(point.deflated_file_bytes)} kB deflated"
    return f"{text} ({ratio(point.deflated_ratio)} smaller than dense fp32)" if point.deflated_ratio else text


def _speed(point: Point | None, section: Section) -> str:
    timing = point.timing(section.setting) if point else None
    if timing is None or point is None:
        return ""
    text = f"{significant(timing.median_ms.mean)} ms at batch {timing.batch_size}"
    compared = []
    if timing.speedup and not point.is_baseline:
        compared.append(f"{ratio(timing.speedup)} against dense fp32")
    if timing.speedup_eager and point.backend != "eager":
        compared.append(f"{ratio(timing.speedup_eager)} against dense fp32 on eager")
    return f"{text} ({', '.join(compared)})" if compared else text


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
