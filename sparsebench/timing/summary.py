"""From sessions to a comparison."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sparsebench.statistics.ratios import Floats, median_interval, sign_test
from sparsebench.statistics.verdicts import Verdict, holm, verdict
from sparsebench.timing.comparison import Comparison, Ratio, Timing
from sparsebench.timing.session import Session
from sparsebench.timing.settings import Settings

SEES_ITSELF = Ratio()


def summarise(
    sessions: Sequence[Session],
    names: Sequence[str],
    baseline: str,
    second: str | None,
    settings: Settings,
    because: str | None,
) -> Comparison:
    """Return the comparison that sessions, one for each group of variants, amount to.

    In each session the first name is the baseline and the second its second copy. Verdicts are adjusted over the
    variants of all sessions; the second copies are no findings and not among them. What was timed in several sessions,
    as the baselines are, stands for the first of them.
    """
    found: dict[str, Timing] = {}
    controls: list[Timing] = []
    for session in sessions:
        first, control, *others = _timings(session, second)
        controls.append(_judged(control, control.paired.p_value, settings.band))
        for timing in (first, *others):
            found.setdefault(timing.name, timing)
    judged = [name for name in names if name != baseline]
    adjusted = holm([found[name].paired.p_value for name in judged]).tolist()
    for name, p_adjusted in zip(judged, adjusted, strict=True):
        found[name] = _judged(found[name], p_adjusted, settings.band)
    return Comparison(
        timings={name: found[name] for name in (baseline, *judged)},
        baseline=baseline,
        controls=tuple(controls),
        stopped="precise" if all(session.stopped == "precise" for session in sessions) else "cap",
        seed=settings.seed,
        band=settings.band,
        precision=settings.precision,
        threads=settings.threads,
        seconds=sum(session.seconds for session in sessions),
        rounds=tuple(one for session in sessions for one in session.rounds),
        in_process_because=because,
        second=second,
    )


def _timings(session: Session, second: str | None) -> list[Timing]:
    """Return the timings of a session in the order of its names, without a verdict yet."""
    log_ratios = session.log_ratios()
    paired = [SEES_ITSELF, *_ratios(log_ratios, session.generations)]
    others: list[Ratio | None] = [None] * len(paired)
    if second == session.names[0]:
        others = list(paired)
    elif second is not None:
        place = session.names.index(second)
        # Within a round, and the neighbour before with the neighbour before: log(variant/base) − log(second/base).
        of_second = log_ratios[[place - 1]]
        others = [*_ratios(-of_second, session.generations), *_ratios(log_ratios - of_second, session.generations)]
        others[place] = SEES_ITSELF
    return [_timing(session, number, *pair) for number, pair in enumerate(zip(paired, others, strict=True))]


def _ratios(log_ratios: Floats, generations: Sequence[int]) -> list[Ratio]:
    """Return what log ratios of shape (variants, rounds, 2) say."""
    labels = np.asarray(generations)
    within = [np.median(log_ratios[:, labels == label], axis=(1, 2)) for label in np.unique(labels)]
    logs = (*median_interval(log_ratios, generations), *within)
    ratios, low, high, *each = ([float(np.exp(log)) for log in column] for column in logs)
    columns = (ratios, low, high, sign_test(log_ratios).tolist(), zip(*each, strict=True))
    return [Ratio(*row) for row in zip(*columns, strict=True)]


def _timing(session: Session, number: int, paired: Ratio, second: Ratio | None) -> Timing:
    name, loaded = session.names[number], session.loaded[number]
    blocks = [place for one in session.rounds for place in zip(one.order, one.latencies_ms, one.calls_ms, strict=True)]
    own = [(latency, calls) for owner, latency, calls in blocks if owner == name]
    calls = np.concatenate([taken for _, taken in own])
    p95, p99 = np.percentile(calls, (95, 99)).tolist()
    return Timing(
        name=name,
        median_ms=float(np.median([latency for latency, _ in own])),
        p95_ms=p95,
        p99_ms=p99,
        calls=len(calls),
        calls_together=loaded.calls,
        paired=paired,
        second=second,
        verdict=Verdict.BASELINE,
        n_rounds=len(session.rounds),
        group=session.group,
        peak_bytes=loaded.peak_bytes,
    )


def _judged(timing: Timing, p_adjusted: float, band: float) -> Timing:
    return replace(timing, verdict=verdict(timing.ratio, timing.low, timing.high, p_adjusted, band))
