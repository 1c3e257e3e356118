"""Latencies of trials: their speedups, and verdicts with all that they were compared beside in view.

A ratio is always that of rounds in which both networks were timed; medians of different sessions are never divided.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparsebench.statistics.spread import Spread, geometric_mean, mean
from sparsebench.statistics.verdicts import Verdict, holm, verdict
from sparsebench.store.records import StageRecord, TrialResult
from sparsebench.store.timings import MeasureResult, RatioResult
from sparsebench.wording.numbers import DASH, decimal, limits
from sparsebench.wording.text import counted

INVALID = "INVALID"

Setting = tuple[int, int]
"""Batch size and number of threads of a latency."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast something is beside a baseline: baseline latency / latency, with its 95 % limits; above 1 is faster.

    ``verdict`` holds for all networks together that were compared on one backend at one batch size and number of
    threads. ``valid`` is whether the machine could be trusted meanwhile; where not, there is no verdict to believe.
    """

    baseline: str
    speedup: float
    low: float
    high: float
    verdict: Verdict
    valid: bool

    @property
    def said(self) -> str:
        """The verdict, or that there is none."""
        return str(self.verdict) if self.valid else INVALID

    @property
    def is_faster(self) -> bool:
        """Whether it may be called faster."""
        return self.valid and self.verdict is Verdict.FASTER


@dataclass(frozen=True, kw_only=True)
class SeedTiming:
    """One latency of a trial, beside the dense fp32 network of its own backend and beside that of eager."""

    measured: MeasureResult
    own: Speed
    eager: Speed | None

    @property
    def setting(self) -> Setting:
        """Batch size and number of threads."""
        return self.measured.batch_size, self.measured.threads


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Latency of a point at one batch size and number of threads, over the seeds that were timed.

    Milliseconds are means over seeds of each seed's own statistic. ``own`` is the speed beside the dense fp32 network
    of the same backend, ``eager`` beside that of eager. ``calls_together`` is 1 where percentiles are of single calls.
    """

    batch_size: int
    threads: int
    median_ms: Spread
    p95_ms: Spread
    p99_ms: Spread
    calls_together: int
    throughput_per_s: float | None
    own: Speed
    eager: Speed | None
    peak_memory_bytes: float | None

    @property
    def reference(self) -> Speed:
        """The speed by which points of all backends are ranked: beside eager where that was timed along."""
        return self.eager or self.own


class Judge:
    """Gives verdicts on the latencies of a run.

    Attributes:
        machine: the one whose latencies are shown, that of most records; None where nothing was timed.
    """

    def __init__(self, trials: Iterable[TrialResult]) -> None:
        listed = list(trials)
        machines = Counter(record.environment.machine for trial in listed for record in trial.measure if record.result)
        self.machine = machines.most_common(1)[0][0] if machines else None
        families: defaultdict[tuple[object, ...], dict[str, float]] = defaultdict(dict)
        for trial in listed:
            t = trial.trial
            for record, measured in self._here(trial):
                for name, ratio in (("own", measured.against), ("eager", measured.against_eager)):
                    if ratio and ratio.compress != t.compress:
                        family = (name, t.model, t.data, t.backend, measured.batch_size, measured.threads)
                        families[family][record.key] = ratio.p_value
        self._adjusted = {
            (str(family[0]), key): float(p)
            for family, p_values in families.items()
            for key, p in zip(p_values, holm(list(p_values.values())), strict=True)
        }

    def timings(self, trial: TrialResult) -> tuple[SeedTiming, ...]:
        """Return the latencies of a trial with their verdicts."""
        return tuple(
            SeedTiming(
                measured=measured,
                own=self._speed("own", record.key, measured, measured.against),
                eager=self._speed("eager", record.key, measured, measured.against_eager)
                if measured.against_eager
                else None,
            )
            for record, measured in self._here(trial)
        )

    def _here(self, trial: TrialResult) -> list[tuple[StageRecord, MeasureResult]]:
        return [
            (record, record.result)
            for record in trial.measure
            if isinstance(record.result, MeasureResult) and record.environment.machine == self.machine
        ]

    def _speed(self, name: str, key: str, measured: MeasureResult, ratio: RatioResult) -> Speed:
        p = self._adjusted.get((name, key))
        session = measured.session
        # Without a p-value among the family, it is the baseline itself.
        said = Verdict.BASELINE if p is None else verdict(ratio.ratio, ratio.low, ratio.high, p, session.band)
        return Speed(
            baseline=ratio.baseline,
            speedup=1 / ratio.ratio,
            low=1 / ratio.high,
            high=1 / ratio.low,
            verdict=said,
            valid=session.valid,
        )


def joined_timings(seeds: Iterable[SeedTiming]) -> tuple[Timing, ...]:
    """Return the latencies of the seeds of a point, joined at each batch size and number of threads."""
    grouped = defaultdict(list)
    for timing in seeds:
        grouped[timing.setting].append(timing)
    found = []
    for (batch_size, threads), timings in grouped.items():
        measured = [timing.measured for timing in timings]
        median, p95, p99 = (
            Spread.of(getattr(m, field) for m in measured) for field in ("median_ms", "p95_ms", "p99_ms")
        )
        own = _joined(timing.own for timing in timings)
        if median and p95 and p99 and own:
            found.append(
                Timing(
                    batch_size=batch_size,
                    threads=threads,
                    median_ms=median,
                    p95_ms=p95,
                    p99_ms=p99,
                    calls_together=max(m.calls_together for m in measured),
                    throughput_per_s=mean(m.throughput_per_s for m in measured if m.median_ms > 0),
                    own=own,
                    eager=_joined(timing.eager for timing in timings),
                    peak_memory_bytes=mean(m.peak_memory_bytes for m in measured),
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
        valid=all(speed.valid for speed in found),
    )


@dataclass(frozen=True, kw_only=True)
class SessionRow:
    """A session as the report lists it: what it was of, and the record of it."""

    model: str
    data: str
    backend: str
    measured: MeasureResult


def sessions(trials: Sequence[TrialResult]) -> tuple[SessionRow, ...]:
    """Return every session once, those that are INVALID first."""
    found: dict[str, SessionRow] = {}
    for t, measured in ((trial.trial, measured) for trial in trials for measured in trial.measured):
        row = SessionRow(model=t.model, data=t.data, backend=t.backend, measured=measured)
        found.setdefault(measured.session.id, row)
    return tuple(sorted(found.values(), key=lambda row: row.measured.session.valid))


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
    """Return what is said of a speedup: a verdict, INVALID, or that it is the baseline's."""
    if speed is None:
        return DASH
    if speed.verdict is Verdict.BASELINE:
        return "baseline" if speed.valid else f"baseline, {INVALID}"
    return speed.said
