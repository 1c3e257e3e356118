"""From sessions to a comparison."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sparsebench.timing.comparison import Comparison, Timing
from sparsebench.timing.session import RoundRecord, Session
from sparsebench.timing.statistics import Floats, median_interval, sign_test
from sparsebench.timing.verdicts import Verdict, holm, verdict


def summarise(
    sessions: Sequence[Session],
    names: Sequence[str],
    baseline: str,
    *,
    band: float,
    precision: float,
    threads: int,
    seed: int,
    because: str | None,
) -> Comparison:
    """Return the comparison that sessions, one for each group of variants, amount to.

    In each session the first name is the baseline and the second its second copy. Verdicts are adjusted over the
    variants of all sessions; the second copies are no findings and not among them.
    """
    found: dict[str, Timing] = {}
    controls: list[Timing] = []
    p_values: dict[str, float] = {}
    for session in sessions:
        ratios = session.log_ratios()
        control, *others = _timings(session, ratios)
        controls.append(control)
        p_values.update(zip(session.names[2:], sign_test(ratios[1:]).tolist(), strict=True))
        found.update((timing.name, timing) for timing in others)
    rounds = tuple(one for session in sessions for one in session.rounds)
    found[baseline] = _timing(baseline, rounds, len(rounds), (1.0, 1.0, 1.0), ())
    adjusted = dict(zip(p_values, holm(list(p_values.values())).tolist(), strict=True))
    judged = {name: _judged(found[name], adjusted[name], band) for name in names if name != baseline}
    return Comparison(
        timings={baseline: found[baseline], **judged},
        baseline=baseline,
        controls=tuple(_judged(control, 0.0, band) for control in controls),
        stopped="precise" if all(session.stopped == "precise" for session in sessions) else "cap",
        seed=seed,
        band=band,
        precision=precision,
        threads=threads,
        seconds=sum(session.seconds for session in sessions),
        rounds=rounds,
        in_process_because=because,
    )


def _timings(session: Session, log_ratios: Floats) -> list[Timing]:
    """Return each variant's timing, without a verdict yet."""
    estimate = median_interval(log_ratios, session.generations)
    labels = np.asarray(session.generations)
    timings = []
    for place, name in enumerate(session.names[1:]):
        limits = tuple(float(np.exp(part[place])) for part in estimate)
        within = [np.median(log_ratios[place][labels == generation]) for generation in np.unique(labels)]
        by_generation = tuple(float(value) for value in np.exp(within))
        timings.append(_timing(name, session.rounds, len(session.rounds), limits, by_generation))
    return timings


def _timing(
    name: str,
    rounds: Sequence[RoundRecord],
    n_rounds: int,
    limits: tuple[float, ...],
    by_generation: tuple[float, ...],
) -> Timing:
    blocks = [place for one in rounds for place in zip(one.order, one.latencies_ms, one.calls_ms, strict=True)]
    own = [(latency, calls) for owner, latency, calls in blocks if owner == name]
    ratio, low, high = limits
    return Timing(
        name=name,
        median_ms=float(np.median([latency for latency, _ in own])),
        p95_ms=float(np.percentile(np.concatenate([calls for _, calls in own]), 95)),
        ratio=ratio,
        low=low,
        high=high,
        verdict=Verdict.BASELINE,
        n_rounds=n_rounds,
        generation_ratios=by_generation,
    )


def _judged(timing: Timing, p_adjusted: float, band: float) -> Timing:
    said = verdict(timing.ratio, timing.low, timing.high, p_adjusted, band)
    return replace(timing, verdict=said)
