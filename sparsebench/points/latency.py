"""Latencies of trials: their speedups, and verdicts with all that they were compared beside in view.

A ratio is always that of rounds in which both networks were timed; medians of different sessions are never divided.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparsebench.statistics.spread import geometric_mean
from sparsebench.statistics.verdicts import Verdict, holm, verdict
from sparsebench.store.records import StageRecord
from sparsebench.store.run import TrialResult
from sparsebench.store.timings import MeasureResult, RatioResult

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


def joined(speeds: Iterable[Speed | None]) -> Speed | None:
    """Return the speed over seeds: geometric means of speedups and of limits, and the verdict on which all agree.

    The limits are those of one seed's network, averaged and not pooled: each seed is another network.
    """
    found = [speed for speed in speeds if speed]
    means = [geometric_mean(getattr(speed, field) for speed in found) for field in ("speedup", "low", "high")]
    if not found or None in means:
        return None
    speedup, low, high = (mean or 0.0 for mean in means)
    verdicts = {speed.verdict for speed in found}
    return Speed(
        baseline=found[0].baseline,
        speedup=speedup,
        low=low,
        high=high,
        verdict=verdicts.pop() if len(verdicts) == 1 else Verdict.INCONCLUSIVE,
        valid=all(speed.valid for speed in found),
    )


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
        """Return what was timed of a trial on the machine that is shown."""
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
    for trial in trials:
        for measured in trial.measured:
            t = trial.trial
            row = SessionRow(model=t.model, data=t.data, backend=t.backend, measured=measured)
            found.setdefault(measured.session.id, row)
    return tuple(sorted(found.values(), key=lambda row: row.measured.session.valid))
