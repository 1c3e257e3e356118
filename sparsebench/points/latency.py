"""Latencies of trials: one for each network, its speedups, and what one reads off their intervals.

A speedup is always that of rounds in which both networks were timed; medians of different sessions are never divided.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import NamedTuple

from sparsebench.statistics.spread import Spread, geometric_mean
from sparsebench.statistics.verdicts import Validity, Verdict
from sparsebench.store.latencies import said, verdict_of
from sparsebench.store.records import TrialResult, latencies_of
from sparsebench.store.timings import MeasureResult, SpeedupResult
from sparsebench.wording.numbers import DASH, decimal, limits
from sparsebench.wording.text import counted

GRAVITY = (Validity.VALID, Validity.NOISY, Validity.INVALID)
"""The states of a session, that which can be trusted least last."""

Setting = tuple[int, int]
"""Batch size and number of threads of a latency."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast something is beside a baseline: baseline latency / latency, with its 95 % limits; above 1 is faster.

    ``verdict`` is what one reads off the limits, which hold for all networks of a session together. ``state`` is that
    of the session; where it is INVALID, there is no verdict to believe.
    """

    baseline: str
    speedup: float
    low: float
    high: float
    verdict: Verdict
    state: Validity

    @property
    def said(self) -> str:
        """The verdict, or that there is none."""
        return said(self.verdict, self.state)

    @property
    def is_trusted(self) -> bool:
        """Whether it may be believed as far as its interval reaches."""
        return self.state is not Validity.INVALID

    @property
    def is_faster(self) -> bool:
        """Whether it may be called faster."""
        return self.is_trusted and self.verdict is Verdict.FASTER

    @property
    def is_slower(self) -> bool:
        """Whether it may be called slower."""
        return self.is_trusted and self.verdict is Verdict.SLOWER


class PeakMemory(NamedTuple):
    """What running a network adds to the memory of a process: median, least and most over processes, in bytes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seeds: Iterable[Sequence[int]]) -> "PeakMemory | None":
        """Return it over all processes of all seeds; a seed of one process says nothing of another, and is left out."""
        found = list(chain.from_iterable(by_process for by_process in seeds if len(by_process) > 1))
        return cls(median(found), min(found), max(found)) if found else None


@dataclass(frozen=True, kw_only=True)
class SeedTiming:
    """One latency of a trial, beside the dense fp32 network of its own backend and beside that of eager.

    ``latency_ms`` is the latency that is shown, on one axis for all sessions of the run.
    """

    measured: MeasureResult
    latency_ms: float
    own: Speed
    eager: Speed | None

    @property
    def setting(self) -> Setting:
        """Batch size and number of threads."""
        return self.measured.batch_size, self.measured.threads


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Latency of a point at one batch size and number of threads, over the seeds that were timed.

    Milliseconds are means over seeds of each seed's own statistic. ``latency_ms`` is the latency that is shown; the
    medians are those of each network's own rounds, and carry what the machine did meanwhile. ``own`` is the speed
    beside the dense fp32 network of the same backend, ``eager`` beside that of eager. ``calls_together`` is 1 where
    percentiles are of single calls.
    """

    batch_size: int
    threads: int
    latency_ms: Spread
    median_ms: Spread
    p95_ms: Spread
    p99_ms: Spread
    calls_together: int
    own: Speed
    eager: Speed | None
    peak_memory: PeakMemory | None

    @property
    def throughput_per_s(self) -> float | None:
        """Samples per second at the latency that is shown."""
        return 1000 * self.batch_size / self.latency_ms.mean if self.latency_ms.mean > 0 else None

    @property
    def reference(self) -> Speed:
        """The speed by which points of all backends are ranked: beside eager where that was timed along."""
        return self.eager or self.own


class Judge:
    """Reads the latencies of a run, and the verdicts off their intervals, which hold for all networks of a session.

    Attributes:
        machine: the one whose latencies are shown, that of most records; None where nothing was timed.
    """

    def __init__(self, trials: Iterable[TrialResult]) -> None:
        listed = list(trials)
        machines = Counter(machine for trial in listed for machine, _ in trial.timed)
        self.machine = machines.most_common(1)[0][0] if machines else None
        self._latencies = latencies_of(listed)

    def timings(self, trial: TrialResult) -> tuple[SeedTiming, ...]:
        """Return the latencies of a trial with their verdicts."""
        compress = trial.trial.compress
        return tuple(
            SeedTiming(
                measured=measured,
                latency_ms=self._latencies.ms(machine, measured),
                own=_speed(measured, measured.against, compress),
                eager=_speed(measured, measured.against_eager, compress) if measured.against_eager else None,
            )
            for machine, measured in trial.timed
            if machine == self.machine
        )


def _speed(measured: MeasureResult, found: SpeedupResult, compress: str | None) -> Speed:
    return Speed(
        baseline=found.baseline,
        speedup=found.speedup,
        low=found.low,
        high=found.high,
        verdict=verdict_of(measured, found, compress),
        state=measured.session.state,
    )


def joined_timings(seeds: Iterable[SeedTiming]) -> tuple[Timing, ...]:
    """Return the latencies of the seeds of a point, joined at each batch size and number of threads."""
    grouped = defaultdict(list)
    for timing in seeds:
        grouped[timing.setting].append(timing)
    found = []
    for (batch_size, threads), timings in grouped.items():
        measured = [timing.measured for timing in timings]
        latency = Spread.of(timing.latency_ms for timing in timings)
        own_median, p95, p99 = (
            Spread.of(getattr(m, field) for m in measured) for field in ("median_ms", "p95_ms", "p99_ms")
        )
        own = _joined(timing.own for timing in timings)
        if latency and own_median and p95 and p99 and own:
            found.append(
                Timing(
                    batch_size=batch_size,
                    threads=threads,
                    latency_ms=latency,
                    median_ms=own_median,
                    p95_ms=p95,
                    p99_ms=p99,
                    calls_together=max(m.calls_together for m in measured),
                    own=own,
                    eager=_joined(timing.eager for timing in timings),
                    peak_memory=PeakMemory.of([m.peak_memory_by_process for m in measured]),
                )
            )
    return tuple(found)


def _joined(speeds: Iterable[Speed | None]) -> Speed | None:
    """Return the speed over seeds: geometric means of speedups and of limits, and the verdict on which all agree.

    The limits are those of one seed's network, averaged and not pooled: each seed is another network.
    """
    found = [speed for speed in speeds if speed]
    speedup, low, high = (geometric_mean(getattr(s, field) for s in found) for field in ("speedup", "low", "high"))
    if speedup is None or low is None or high is None:
        return None
    verdicts = {speed.verdict for speed in found}
    return Speed(
        baseline=found[0].baseline,
        speedup=speedup,
        low=low,
        high=high,
        verdict=verdicts.pop() if len(verdicts) == 1 else Verdict.INCONCLUSIVE,
        state=max((speed.state for speed in found), key=GRAVITY.index),
    )


@dataclass(frozen=True, kw_only=True)
class SessionRow:
    """A session as the report lists it: what it was of, and the record of it."""

    model: str
    data: str
    backend: str
    measured: MeasureResult


def sessions(trials: Sequence[TrialResult]) -> tuple[SessionRow, ...]:
    """Return every session once, those that can be trusted least first."""
    found: dict[str, SessionRow] = {}
    for t, measured in ((trial.trial, measured) for trial in trials for measured in trial.measured):
        row = SessionRow(model=t.model, data=t.data, backend=t.backend, measured=measured)
        found.setdefault(measured.session.id, row)
    return tuple(sorted(found.values(), key=lambda row: -GRAVITY.index(row.measured.session.state)))


def setting_text(setting: Setting | None) -> str:
    """Return a batch size and number of threads as they stand behind a metric; empty where there are none."""
    return f" at batch {setting[0]}, {counted(setting[1], 'thread')}" if setting else ""


def speedup_text(speed: Speed | None) -> str:
    """Return a speedup with its interval; that of a baseline over itself has none."""
    if speed is None:
        return DASH
    if speed.verdict is Verdict.BASELINE:
        return "1"
    # As many digits as a difference of one percent needs.
    digits = 3 if speed.speedup < 10 else 1
    return f"{decimal(speed.speedup, digits)}× {limits(speed.low, speed.high, digits)}"


def verdict_text(speed: Speed | None) -> str:
    """Return what is said of a speedup: its verdict, or that it is the baseline's, and the state unless it is VALID."""
    if speed is None:
        return DASH
    if speed.verdict is Verdict.BASELINE:
        return "baseline" if speed.state is Validity.VALID else f"baseline, {speed.state}"
    return f"{speed.said}, {speed.state}" if speed.state is Validity.NOISY else speed.said
