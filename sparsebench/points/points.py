"""Operating points: the trials that differ in nothing but their seed, joined."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from typing import TypeVar

from sparsebench.points.baselines import EAGER, FP32, Comparer, Lost, SeedResult, Zeros, mean_zeros
from sparsebench.points.drops import Drop
from sparsebench.points.exportable import Format, format_of
from sparsebench.points.latency import Setting, Timing, joined_timings
from sparsebench.points.shipping import Split, chosen_on, seed_to_ship
from sparsebench.statistics.spread import Spread, geometric_mean, mean
from sparsebench.store.records import Run, TrialResult, pruning_in_short
from sparsebench.store.scales import ACCURACY, Scale

Name = TypeVar("Name", str, str | None)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One operating point over its seeds.

    ``value`` is the metric that ``scale`` describes, accuracy or another. Shares and sparsities are fractions, drops
    and the interaction percentage points of shares, otherwise in the unit of the metric. Sizes and MACs (of the trained
    network, for one sample) are means over seeds, ratios geometric means. ``interaction`` is its spread over seeds,
    ``interaction_drop`` the same with its two intervals.
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
    scale: Scale
    value: Spread | None
    top5: Spread | None
    balanced_accuracy: Spread | None
    worst_class_recall: Spread | None
    drop: Drop | None
    drop_std: float | None
    drop_eager: Drop | None
    interaction: Spread | None
    interaction_drop: Drop | None
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

    @cached_property
    def predicts_one_class(self) -> bool:
        """Whether the network of some seed predicts one class only."""
        return any(seed.trial.evaluated and seed.trial.evaluated.predicts_one_class for seed in self.seeds)

    @cached_property
    def ships(self) -> SeedResult | None:
        """The seed whose network would ship, as ``seed_to_ship``; None where none was evaluated."""
        return seed_to_ship(self.seeds)

    @cached_property
    def exports_to(self) -> Format | None:
        """The format that the network that would ship is best exported to; None where it cannot be exported."""
        return format_of(self.ships.trial) if self.ships else None

    @property
    def dense(self) -> bool:
        """Whether nothing was pruned."""
        return self.threshold == 0.0

    @property
    def is_baseline(self) -> bool:
        """Whether this is the point that others on its backend are compared with."""
        return self.dense and self.scheme == FP32

    @cached_property
    def chance(self) -> float | None:
        """Accuracy of guessing, 1 / classes, where it cannot be told from the accuracy of at least one seed."""
        if not self.scale.is_accuracy:
            return None
        classes = next((seed.trial.trained.classes for seed in self.seeds if seed.trial.trained), 0)
        lows = [seed.trial.evaluated.low for seed in self.seeds if seed.trial.evaluated]
        low = min((end for end in lows if end is not None), default=math.inf)
        return 1.0 / classes if classes >= 2 and low <= 1.0 / classes else None

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


@dataclass(frozen=True, eq=False)
class Section:
    """All of one model on one data set: its points, baseline first, and its trials as they were planned.

    Each is equal to itself alone, so that what is computed of it can be kept.

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
        return tuple(p for p in self.points if p.value or p.deflated_file_bytes is not None or p.timings)

    @cached_property
    def scale(self) -> Scale:
        """Of the metric that its points have; accuracy where nothing was evaluated."""
        return next((point.scale for point in self.points if point.value), ACCURACY)

    @cached_property
    def chosen_on(self) -> Split:
        """The split by which is chosen among the points."""
        return chosen_on(seed.trial for point in self.shown for seed in point.seeds)

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
        return tuple(_in_order((point.scheme for point in self.shown), FP32))

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
        return self.preferred or next(iter(self.settings), None)

    def latency_ms(self, point: Point) -> float | None:
        """Return a point's latency in milliseconds as it is shown everywhere, None where it was not timed."""
        timing = point.timing(self.setting)
        return timing.latency_ms.mean if timing else None

    def on(self, backend: str) -> tuple[Point, ...]:
        """Return the points shown of one backend."""
        return tuple(point for point in self.shown if point.backend == backend)


def sections(run: Run) -> tuple[Section, ...]:
    """Return the run's models and data sets, in the order in which the run names them, with their points."""
    return sections_of(run.trials)


def sections_of(trials: Iterable[TrialResult]) -> tuple[Section, ...]:
    """Return the models and data sets of some trials, with the points that these make."""
    listed = list(trials)
    comparer = Comparer(listed)
    grouped: defaultdict[tuple[str, str], list[TrialResult]] = defaultdict(list)
    for trial in listed:
        grouped[trial.trial.model, trial.trial.data].append(trial)
    return tuple(Section(model, data, _points(own, comparer), tuple(own)) for (model, data), own in grouped.items())


def _points(trials: Sequence[TrialResult], comparer: Comparer) -> tuple[Point, ...]:
    backends = _in_order((t.trial.backend for t in trials), EAGER)
    schemes = _in_order((t.trial.scheme for t in trials), FP32)
    pruners = _in_order((t.trial.pruner for t in trials), None)

    def place(trial: TrialResult) -> tuple[int, int, float, int, int]:
        t = trial.trial
        return (
            backends.index(t.backend),
            pruners.index(t.pruner),
            t.threshold,
            schemes.index(t.scheme),
            t.calibration_batches or 0,
        )

    groups = [list(seeds) for _, seeds in groupby(sorted(trials, key=place), place)]
    compared = iter(comparer.compare_all([trial for seeds in groups for trial in seeds]))
    lost = comparer.over_seeds(groups)
    return tuple(_point(list(islice(compared, len(seeds))), one) for seeds, one in zip(groups, lost, strict=True))


def _in_order(names: Iterable[Name], first: Name) -> list[Name]:
    """Return each name once, as they came, but ``first`` before all others."""
    return sorted(dict.fromkeys(names), key=lambda name: name != first)


def _point(seeds: Sequence[SeedResult], lost: Lost) -> Point:
    trials = [seed.trial for seed in seeds]
    first = trials[0].trial
    packed = [trial.compressed for trial in trials if trial.compressed]
    scored = [trial.evaluated for trial in trials if trial.evaluated]
    trained = [trial.trained for trial in trials if trial.trained]
    drops = [seed.drop for seed in seeds if seed.drop]
    return Point(
        model=first.model,
        data=first.data,
        pruner=first.pruner,
        threshold=first.threshold,
        scheme=first.scheme,
        backend=first.backend,
        calibration_batches=first.calibration_batches,
        seeds=tuple(seeds),
        planned=len(seeds),
        scale=scored[0].scale if scored else ACCURACY,
        value=Spread.of(result.value for result in scored),
        top5=Spread.of(result.top5 for result in scored),
        balanced_accuracy=Spread.of(result.balanced_accuracy for result in scored),
        worst_class_recall=Spread.of(result.worst_class_recall for result in scored),
        drop=lost.drop,
        drop_std=spread.std if (spread := Spread.of(drop.loss for drop in drops)) else None,
        drop_eager=lost.drop_eager,
        interaction=Spread.of(seed.interaction for seed in seeds),
        interaction_drop=lost.interaction,
        sparsity_asked=mean(result.asked_sparsity for result in trained),
        sparsity=Spread.of(result.sparsity for result in trained),
        file_bytes=mean(result.size.file_bytes for result in packed),
        deflated_file_bytes=mean(result.size.deflated_file_bytes for result in packed),
        payload_bytes=mean(result.size.payload_bytes for result in packed),
        flash_bytes=mean(result.size.flash_bytes for result in packed),
        file_ratio=geometric_mean(seed.file_ratio for seed in seeds),
        deflated_ratio=geometric_mean(seed.deflated_ratio for seed in seeds),
        compression_ratio=geometric_mean(seed.compression_ratio for seed in seeds),
        int8_fraction=mean(result.int8_weights / result.weights if result.weights else 0.0 for result in packed),
        int8_mac_fraction=mean(trial.int8_mac_fraction for trial in trials),
        zeros=mean_zeros([seed.zeros for seed in seeds if seed.zeros]),
        macs=mean(result.macs for result in trained),
        effective_macs=mean(result.effective_macs for result in trained),
        theoretical_speedup=geometric_mean(seed.theoretical_speedup for seed in seeds),
        working_memory_bytes=mean(result.working_memory_bytes for result in packed),
        timings=joined_timings(timing for seed in seeds for timing in seed.timings),
    )
