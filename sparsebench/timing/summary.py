"""From sessions to a comparison: the speedups that processes found, with their intervals and verdicts."""

from collections.abc import Collection, Sequence

import numpy as np

from sparsebench.statistics.processes import Estimate, Floats, of_copies, over_processes
from sparsebench.statistics.verdicts import FARTHEST, verdict
from sparsebench.timing.comparison import Comparison, Speedup, Timing
from sparsebench.timing.schedule import COPIES, Settings
from sparsebench.timing.session import PROCESSES, Session


def summarise(
    sessions: Sequence[Session],
    names: Sequence[str],
    baseline: str,
    second: str | None,
    settings: Settings,
    because: str | None,
    alike: frozenset[str],
) -> Comparison:
    """Return the comparison that sessions, one for each group of variants, amount to.

    In each session the baseline's copies are the first names. Intervals hold for the variants of all sessions
    together; copies of the baseline are no findings and not among them. What was timed in several sessions, as the
    baselines are, stands for the first of them.
    """
    networks = max(1, len(names) - 1)
    found: dict[str, Timing] = {}
    controls: list[Timing] = []
    for session in sessions:
        timings = _timings(session, networks, second, settings.band)
        controls += timings[:COPIES]
        found.setdefault(baseline, _baseline(session, second, networks, settings.band))
        for timing in timings[COPIES:]:
            found.setdefault(timing.name, timing)
    needed = [session.seconds_needed for session in sessions if session.seconds_needed is not None]
    return Comparison(
        timings={name: found[name] for name in (baseline, *(name for name in names if name != baseline))},
        baseline=baseline,
        controls=tuple(controls),
        alike=alike,
        stopped="precise" if all(session.stopped == "precise" for session in sessions) else "cap",
        seed=settings.seed,
        band=settings.band,
        precision=settings.precision,
        threads=settings.threads,
        seconds=sum(session.seconds for session in sessions),
        seconds_needed=sum(needed) if needed else None,
        rounds=tuple(one for session in sessions for one in session.rounds),
        in_process_because=because,
        second=second,
    )


def _timings(session: Session, networks: int, second: str | None, band: float) -> list[Timing]:
    """Return the timings of a session in the order of its names, the copies each beside the others."""
    logs, weights = session.log_speedups(), session.weights()
    speedups = [
        *_speedups(logs[:COPIES], weights, of_copies(logs[:COPIES], band, weights), band),
        *_joint(logs[COPIES:], weights, networks, band),
    ]
    if second is None:
        others: list[Speedup | None] = [None] * len(speedups)
    elif second == session.names[0]:
        others = list(speedups)
    else:
        place = session.names.index(second)
        beside = _joint(session.log_speedups([place]), weights, networks, band)
        others = [Speedup() if number == place else one for number, one in enumerate(beside)]
    base_ms = _median_ms(session, session.names[:COPIES])
    return [
        _timing(session, (name,), base_ms, paired, second_one)
        for name, paired, second_one in zip(session.names, speedups, others, strict=True)
    ]


def _baseline(session: Session, second: str | None, networks: int, band: float) -> Timing:
    """Return the timing of the baseline, which is that of all its copies."""
    names = session.names[:COPIES]
    beside: Speedup | None = None
    if second == names[0]:
        beside = Speedup()
    elif second is not None:
        logs = session.log_speedups([session.names.index(second)])[:COPIES].mean(axis=0, keepdims=True)
        beside = _joint(logs, session.weights(), networks, band)[0]
    return _timing(session, names, _median_ms(session, names), Speedup(), beside)


def _joint(logs: Floats, weights: Floats, networks: int, band: float) -> list[Speedup]:
    """Return what log speedups of shape (variants, processes) say, with intervals for so many networks together."""
    return _speedups(logs, weights, over_processes(logs, networks, band, weights), band)


def _speedups(logs: Floats, weights: Floats, found: Estimate, band: float) -> list[Speedup]:
    """Return log speedups of shape (variants, processes) with their intervals as speedups."""
    enough = logs.shape[-1] >= PROCESSES
    columns = [np.exp(np.clip(part, -FARTHEST, FARTHEST)).tolist() for part in found[:3]]
    counted = tuple(weights.tolist())
    return [
        Speedup(
            *(speedup, low, high, p_value, verdict(low, high, band, enough=enough)),
            by_process=tuple(np.exp(each).tolist()),
            weights=counted,
        )
        for speedup, low, high, p_value, each in zip(*columns, found.p_value.tolist(), logs, strict=True)
    ]


def _median_ms(session: Session, names: Collection[str]) -> float:
    places = (zip(one.order, one.latencies_ms, strict=True) for one in session.rounds)
    return float(np.median([latency for blocks in places for owner, latency in blocks if owner in names]))


def _timing(session: Session, names: Sequence[str], base_ms: float, paired: Speedup, second: Speedup | None) -> Timing:
    """Return the timing of one network, which has one name or, as the baseline, several."""
    numbers = [session.names.index(name) for name in names]
    blocks = [pair for one in session.rounds for pair in zip(one.order, one.calls_ms, strict=True)]
    calls = np.concatenate([taken for owner, taken in blocks if owner in names])
    p95, p99 = np.percentile(calls, (95, 99)).tolist()
    peaks = [loaded[numbers[0]].peak_bytes for loaded in session.loaded]
    return Timing(
        name=names[0],
        latency_ms=base_ms / paired.speedup,
        median_ms=_median_ms(session, names),
        p95_ms=p95,
        p99_ms=p99,
        calls=len(calls),
        calls_together=max(loaded[number].calls for loaded in session.loaded for number in numbers),
        paired=paired,
        second=second,
        n_rounds=len(session.rounds),
        group=session.group,
        peak_bytes=tuple(peak for peak in peaks if peak is not None),
    )
