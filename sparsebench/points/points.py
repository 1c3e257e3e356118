"""Operating points: the trials that differ in nothing but their seed, joined."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from sparsebench.points.baselines import EAGER, FP32, Comparer, SeedResult
from sparsebench.points.drops import Drop, mean_drop
from sparsebench.points.latency import Setting, Speed, joined
from sparsebench.points.zeros import Zeros, mean_zeros
from sparsebench.statistics.spread import Spread, geometric_mean, mean
from sparsebench.store.records import pruning_in_short
from sparsebench.store.results import CompressResult
from sparsebench.store.run import Run, TrialResult

Name = TypeVar("Name", str, str | None)


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


@dataclass(frozen=True, kw_only=True)
class Point:
    """One operating point over its seeds.

    Accuracies and sparsities are fractions, drops and the interaction percentage points. Sizes and MACs (of the trained
    network, for one sample) are means over seeds, ratios geometric means. ``drop`` has the limits averaged over seeds.
    """

    model: str
    data: str
    pruner: str | None
    threshold: float
    scheme: str
    backend: str
    calibration_batches: int | None
    seeds: tuple[SeedResult, ...]
    planned: int
    top1: Spread | None
    top5: Spread | None
    drop: Drop | None
    drop_std_pp: float | None
    drop_eager: Drop | None
    interaction: Spread | None
    sparsity_asked: float | None
    sparsity: Spread | None
    file_bytes: float | None
    deflated_file_bytes: float | None
    payload_bytes: float | None
    flash_bytes: float | None
    file_ratio: float | None
    deflated_ratio: float | None
    compression_ratio: float | None
    int8_fraction: float | None
    int8_mac_fraction: float | None
    zeros: Zeros | None
    macs: float | None
    effective_macs: float | None
    theoretical_speedup: float | None
    working_memory_bytes: float | None
    timings: tuple[Timing, ...]

    @property
    def dense(self) -> bool:
        """Whether nothing was pruned."""
        return self.threshold == 0.0

    @property
    def is_baseline(self) -> bool:
        """Whether this is the point that others on its backend are compared with."""
        return self.dense and self.scheme == FP32

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing, 1 / classes, where it cannot be told from the accuracy of at least one seed."""
        trained = next((seed.trial.trained for seed in self.seeds if seed.trial.trained), None)
        lows = [seed.trial.evaluated.top1_low for seed in self.seeds if seed.trial.evaluated]
        if trained is None or trained.classes < 2 or not lows:
            return None
        return 1.0 / trained.classes if min(lows) <= 1.0 / trained.classes else None

    @property
    def pruning(self) -> str:
        """Pruner and threshold in short: ``magnitude 0.9``, or ``dense``."""
        return pruning_in_short(self.pruner, self.threshold)

    @property
    def label(self) -> str:
        """The point in short, within its model and data."""
        return f"{self.pruning} · {self.scheme} · {self.backend}"

    def timing(self, setting: Setting | None) -> Timing | None:
        """Return the latency at one batch size and number of threads, or None."""
        return next((t for t in self.timings if (t.batch_size, t.threads) == setting), None)


@dataclass(frozen=True)
class Section:
    """All of one model on one data set: its points, baseline first, and its trials as they were planned.

    ``preferred`` is the batch size and number of threads whose latencies are read, that of most points where it is
    None.
    """

    model: str
    data: str
    points: tuple[Point, ...]
    trials: tuple[TrialResult, ...]
    preferred: Setting | None = None

    @property
    def title(self) -> str:
        """What the section is of, as figures say it."""
        return f"{self.model} on {self.data}"

    @cached_property
    def measured(self) -> tuple[Point, ...]:
        """Points of which something was measured, at every number of calibration batches."""
        return tuple(p for p in self.points if p.top1 or p.deflated_file_bytes is not None or p.timings)

    @cached_property
    def calibrations(self) -> tuple[int, ...]:
        """Numbers of calibration batches that the section's trials ask for, ascending."""
        return tuple(sorted({p.calibration_batches for p in self.points if p.calibration_batches is not None}))

    @cached_property
    def shown(self) -> tuple[Point, ...]:
        """Points of which something was measured: what is compared in tables and figures, and picked from.

        Of several numbers of calibration batches that is the largest, which a deployer would take: choosing the
        best-looking number by accuracy on the test set would flatter it.
        """
        return tuple(p for p in self.measured if p.calibration_batches in (None, *self.calibrations[-1:]))

    @cached_property
    def backends(self) -> tuple[str, ...]:
        """Backends of the points shown, eager first."""
        return tuple(dict.fromkeys(point.backend for point in self.shown))

    @cached_property
    def schemes(self) -> tuple[str, ...]:
        """Schemes of the points shown, fp32 first."""
        return _first_seen((point.scheme for point in self.shown), FP32)

    @cached_property
    def pruners(self) -> tuple[str, ...]:
        """Pruners of the points shown."""
        return tuple(dict.fromkeys(p.pruner for p in self.shown if p.pruner is not None and not p.dense))

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """Thresholds of the points shown, ascending."""
        return tuple(sorted({point.threshold for point in self.shown}))

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """Batch sizes and threads that were timed; the one that most points have stands first."""
        counts = Counter((t.batch_size, t.threads) for point in self.points for t in point.timings)
        return tuple(setting for setting, _ in counts.most_common())

    @property
    def setting(self) -> Setting | None:
        """The batch size and number of threads that tables and figures show, or None where nothing was timed."""
        return self.preferred or (self.settings[0] if self.settings else None)

    def at(self, setting: Setting) -> "Section":
        """Return the same section, with its latencies read at this batch size and number of threads."""
        return replace(self, preferred=setting)

    def latency_ms(self, point: Point) -> float | None:
        """Return a point's latency as the paired rounds saw it: that of dense fp32 / speedup, in milliseconds.

        Points of different sessions stand on one axis so; their medians would carry what the machine did meanwhile.
        Where dense fp32 was not timed it is the point's own median.
        """
        timing = point.timing(self.setting)
        if timing is None:
            return None
        dense = self._dense_ms.get(EAGER if timing.eager else point.backend)
        return dense / timing.reference.speedup if dense else timing.median_ms.mean

    @cached_property
    def _dense_ms(self) -> dict[str, float]:
        timings = {point.backend: point.timing(self.setting) for point in self.points if point.is_baseline}
        return {backend: timing.median_ms.mean for backend, timing in timings.items() if timing}

    def on(self, backend: str) -> tuple[Point, ...]:
        """Return the points shown of one backend."""
        return self._by_backend[backend]

    @cached_property
    def _by_backend(self) -> dict[str, tuple[Point, ...]]:
        found: defaultdict[str, list[Point]] = defaultdict(list)
        for point in self.shown:
            found[point.backend].append(point)
        return {backend: tuple(points) for backend, points in found.items()}


def sections(run: Run) -> tuple[Section, ...]:
    """Return the run's models and data sets, in the order in which the run names them, with their points."""
    comparer = Comparer(run.trials)
    grouped: defaultdict[tuple[str, str], list[TrialResult]] = defaultdict(list)
    for trial in run.trials:
        grouped[trial.trial.model, trial.trial.data].append(trial)
    return tuple(
        Section(model, data, _points(trials, comparer.compare), tuple(trials))
        for (model, data), trials in grouped.items()
    )


_Key = tuple[str | None, float, str, str, int | None]
"""Pruner, threshold, scheme, backend and calibration batches."""


def _points(trials: Sequence[TrialResult], compare: Callable[[TrialResult], SeedResult]) -> tuple[Point, ...]:
    backends = _ranks((t.trial.backend for t in trials), EAGER)
    schemes = _ranks((t.trial.scheme for t in trials), FP32)
    pruners = _ranks((t.trial.pruner for t in trials), None)
    grouped: defaultdict[_Key, list[TrialResult]] = defaultdict(list)
    for trial in trials:
        t = trial.trial
        pruner = t.pruner if t.threshold else None
        grouped[pruner, t.threshold, t.scheme, t.backend, t.calibration_batches].append(trial)

    def order(key: _Key) -> tuple[int, int, float, int, int]:
        pruner, threshold, scheme, backend, batches = key
        return backends[backend], pruners.get(pruner, -1), threshold, schemes[scheme], batches or 0

    return tuple(_point(*key, [compare(trial) for trial in grouped[key]]) for key in sorted(grouped, key=order))


def _first_seen(names: Iterable[Name], first: Name) -> tuple[Name, ...]:
    return tuple(sorted(dict.fromkeys(names), key=lambda name: name != first))


def _ranks(names: Iterable[Name], first: Name) -> dict[Name, int]:
    return {name: rank for rank, name in enumerate(_first_seen(names, first))}


def _point(
    pruner: str | None, threshold: float, scheme: str, backend: str, batches: int | None, seeds: list[SeedResult]
) -> Point:
    trials = [seed.trial for seed in seeds]
    first = trials[0].trial
    packed = [trial.compressed for trial in trials if trial.compressed]
    scored = [trial.evaluated for trial in trials if trial.evaluated]
    trained = [trial.trained for trial in trials if trial.trained]
    drops = [seed.drop for seed in seeds if seed.drop]
    spread = Spread.of(drop.pp for drop in drops)
    return Point(
        model=first.model,
        data=first.data,
        pruner=pruner,
        threshold=threshold,
        scheme=scheme,
        backend=backend,
        calibration_batches=batches,
        seeds=tuple(seeds),
        planned=len(seeds),
        top1=Spread.of(result.top1 for result in scored),
        top5=Spread.of(result.top5 for result in scored),
        drop=mean_drop(drops),
        drop_std_pp=spread.std if spread else None,
        drop_eager=mean_drop([seed.drop_eager for seed in seeds if seed.drop_eager]),
        interaction=Spread.of(seed.interaction_pp for seed in seeds),
        sparsity_asked=mean(result.asked_sparsity for result in trained),
        sparsity=Spread.of(result.sparsity for result in trained),
        file_bytes=mean(result.size.file_bytes for result in packed),
        deflated_file_bytes=mean(result.size.deflated_file_bytes for result in packed),
        payload_bytes=mean(result.size.payload_bytes for result in packed),
        flash_bytes=mean(result.size.flash_bytes for result in packed),
        file_ratio=geometric_mean(seed.file_ratio for seed in seeds),
        deflated_ratio=geometric_mean(seed.deflated_ratio for seed in seeds),
        compression_ratio=geometric_mean(seed.compression_ratio for seed in seeds),
        int8_fraction=mean(map(_int8_fraction, packed)),
        int8_mac_fraction=mean(trial.int8_mac_fraction for trial in trials),
        zeros=mean_zeros([seed.zeros for seed in seeds if seed.zeros]),
        macs=mean(result.macs for result in trained),
        effective_macs=mean(result.effective_macs for result in trained),
        theoretical_speedup=geometric_mean(seed.theoretical_speedup for seed in seeds),
        working_memory_bytes=mean(result.working_memory_bytes for result in packed),
        timings=_timings(seeds),
    )


def _int8_fraction(packed: CompressResult) -> float:
    return packed.int8_weights / packed.weights if packed.weights else 0.0


def _timings(seeds: Sequence[SeedResult]) -> tuple[Timing, ...]:
    grouped = defaultdict(list)
    for seed in seeds:
        for timing in seed.timings:
            grouped[timing.setting].append(timing)
    found = []
    for (batch_size, threads), timings in grouped.items():
        measured = [timing.measured for timing in timings]
        median, p95, p99 = (
            Spread.of(getattr(m, field) for m in measured) for field in ("median_ms", "p95_ms", "p99_ms")
        )
        own = joined(timing.own for timing in timings)
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
                    eager=joined(timing.eager for timing in timings),
                    peak_memory_bytes=mean(m.peak_memory_bytes for m in measured),
                )
            )
    return tuple(found)
