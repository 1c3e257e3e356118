"""From sessions to a comparison."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sparsebench.statistics.paired_ratios import Floats, median_interval, sign_test
from sparsebench.statistics.verdicts import Verdict, holm, verdict
from sparsebench.timing.comparison import Comparison, Ratio, Timing
from sparsebench.timing.session import Session
from sparsebench.timing.settings import Settings

BASELINE_SEES_ITSELF = Ratio()


def summarise(
    sessions: Sequence[Session],
    names: Sequence[str],
    baseline: str,
    second: str | None,
    settings: Settings,
    because: str | None,
) -> Comparison:
    """Return the comparison that sessions, one for each group of variants, amount to.

    In each session the first name is the baseline, the second its second copy, and the third the second baseline where
    there is one. Verdicts are adjusted over the variants of all sessions; the second copies are no findings and not
    among them. What was timed in several sessions, as the baselines are, stands for the first of them.
    """
    found: dict[str, Timing] = {}
    controls: list[Timing] = []
    for session in sessions:
        control, *others = _timings(session, second)
        controls.append(control)
        for timing in (_baseline(session, second), *others):
            found.setdefault(timing.name, timing)
    judged = [name for name in names if name != baseline]
    adjusted = holm([found[name].paired.p_value for name in judged]).tolist()
    for name, p_adjusted in zip(judged, adjusted, strict=True):
        found[name] = _judged(found[name], p_adjusted, settings.band)
    return Comparison(
        timings={name: found[name] for name in (baseline, *judged)},
        baseline=baseline,
        controls=tuple(_judged(control, control.paired.p_value, settings.band) for control in controls),
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


def _baseline(session: Session, second: str | None) -> Timing:
    """Return the timing of a session's baseline: its ratio to itself is 1, that to the second baseline is measured."""
    name = session.names[0]
    if second is None or second == name:
        return _timing(session, 0, BASELINE_SEES_ITSELF, BASELINE_SEES_ITSELF if second else None)
    # Seen from the other side: what the second baseline takes of the baseline's time.
    against = -session.log_ratios()[[session.names.index(second) - 1]]
    return _timing(session, 0, BASELINE_SEES_ITSELF, _ratios(against, session.generations)[0])


def _timings(session: Session, second: str | None) -> list[Timing]:
    """Return the timings of all but the baseline, without a verdict yet."""
    log_ratios = session.log_ratios()
    paired = _ratios(log_ratios, session.generations)
    others: list[Ratio | None] = [None] * len(paired)
    if second == session.names[0]:
        others = list(paired)
    elif second is not None:
        place = session.names.index(second) - 1
        # Within a round, and the neighbour before with the neighbour before: log(variant/base) − log(second/base).
        others = list(_ratios(log_ratios - log_ratios[place], session.generations))
        others[place] = BASELINE_SEES_ITSELF
    return [_timing(session, number, *pair) for number, pair in enumerate(zip(paired, others, strict=True), start=1)]


def _ratios(log_ratios: Floats, generations: Sequence[int]) -> list[Ratio]:
    """Return what log ratios of shape (variants, rounds, 2) say."""
    estimate, p_values = median_interval(log_ratios, generations), sign_test(log_ratios)
    labels = np.asarray(generations)
    within = [np.median(log_ratios[:, labels == label], axis=(1, 2)) for label in np.unique(labels)]
    return [
        Ratio(
            ratio=float(np.exp(estimate.centre[place])),
            low=float(np.exp(estimate.low[place])),
            high=float(np.exp(estimate.high[place])),
            p_value=float(p_values[place]),
            generation_ratios=tuple(float(np.exp(one[place])) for one in within),
        )
        for place in range(len(log_ratios))
    ]


def _timing(session: Session, number: int, paired: Ratio, second: Ratio | None) -> Timing:
    name, loaded = session.names[number], session.loaded
    blocks = [place for one in session.rounds for place in zip(one.order, one.latencies_ms, one.calls_ms, strict=True)]
    own = [(latency, calls) for owner, latency, calls in blocks if owner == name]
    calls = np.concatenate([taken for _, taken in own])
    p95, p99 = np.percentile(calls, (95, 99))
    return Timing(
        name=name,
        median_ms=float(np.median([latency for latency, _ in own])),
        p95_ms=float(p95),
        p99_ms=float(p99),
        calls=len(calls),
        calls_together=loaded.calls[number],
        paired=paired,
        second=second,
        verdict=Verdict.BASELINE,
        n_rounds=len(session.rounds),
        group=session.group,
        peak_bytes=loaded.peak_bytes[number],
    )


def _judged(timing: Timing, p_adjusted: float, band: float) -> Timing:
    said = verdict(timing.ratio, timing.low, timing.high, p_adjusted, band)
    return replace(timing, verdict=said)
