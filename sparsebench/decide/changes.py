"""What can be compared between two runs and named in a gate, and how it changed from one to the other."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsebench.decide.matching import Group
from sparsebench.points.drops import Correctness, mean_drop
from sparsebench.points.latency import INVALID, Setting
from sparsebench.points.rows import exact_value
from sparsebench.statistics.accuracy import p_from_limits, sign_flip_test
from sparsebench.statistics.ratios import log_ratio, unpaired_change
from sparsebench.statistics.spread import geometric_mean, mean
from sparsebench.statistics.verdicts import holm, verdict
from sparsebench.store.records import TrialResult
from sparsebench.store.results import EvaluateResult
from sparsebench.store.timings import MeasureResult, RatioResult
from sparsebench.wording.numbers import BYTES, PERCENT, POINTS, Dimension


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one metric of one group changed; None stands for what is not known.

    ``before`` and ``after`` are means over seeds: a fraction, bytes, MACs, or a ratio to the baseline. ``change`` is
    what limits are compared with, percentage points lost or the relative change as a fraction, and ``low`` and ``high``
    are the limits of its 95 % interval. ``p_value`` is of "nothing changed", and ``p_adjusted`` the same, adjusted
    (Holm) over all groups and settings of this metric. ``paired`` is whether the two were compared sample by sample,
    ``pairs`` how many seeds it is of. A latency has the batch size and threads as its ``setting``, and ``said`` is the
    verdict on it. ``open`` is why something could not be compared, though both runs measured it.
    """

    before: float | None = None
    after: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    paired: bool = False
    setting: Setting | None = None
    said: str = ""
    pairs: int = 0
    open: str = ""


@dataclass(frozen=True)
class Metric:
    """Something that can be compared between runs, and that a gate may name.

    Attributes:
        name: as gates name it.
        dimensions: of the limits that a gate may have.
        changes: how it changed in a group; empty where it was not measured in both runs.
        tested: whether it has an interval and a test; where not, it is known exactly or is an estimate alone.
        exact: whether it is known exactly.
        timed: whether it needs a clock.
    """

    name: str
    dimensions: tuple[Dimension, ...]
    changes: Callable[[Group], Sequence[Change]]
    tested: bool = False
    exact: bool = False
    timed: bool = False


def every_change(groups: Sequence[Group], metric: Metric, band: float) -> tuple[tuple[Change, ...], ...]:
    """Return how a metric changed in each group, with p-values adjusted over all of them, and verdicts on latencies.

    Args:
        groups: what was matched.
        metric: what is compared.
        band: relative differences of latencies up to this fraction do not matter.
    """
    found = [tuple(metric.changes(group)) for group in groups]
    tests = [change.p_value for changes in found for change in changes if change.p_value is not None]
    p_values = iter(holm(tests).tolist())
    return tuple(tuple(_judged(change, p_values, band) for change in changes) for changes in found)


def _judged(change: Change, p_values: Iterator[float], band: float) -> Change:
    if change.p_value is None:
        return change
    p, said = next(p_values), change.said
    if change.setting and change.change is not None and change.low is not None and change.high is not None:
        said = str(verdict(1 + change.change, 1 + change.low, 1 + change.high, p, band))
    return replace(change, p_adjusted=p, said=said)


# -- accuracy, and what is known exactly or estimated once -------------------------------------------------------------


def accuracy_drop(group: Group) -> Sequence[Change]:
    """Return top-1 lost, with the paired interval and the exact test over test samples where both left correctness."""
    reader = Correctness()
    scored = [
        (pair.before.evaluated, pair.after.evaluated, pair.same_data)
        for pair in group.pairs
        if pair.before.evaluated and pair.after.evaluated
    ]
    drop = mean_drop([found for pair in scored if (found := reader.drop(*pair))])
    if drop is None:
        return ()
    if drop.paired and len({result.samples for before, after, _ in scored for result in (before, after)}) == 1:
        # For each test sample, how many more networks classified it rightly before than after.
        p_value = sign_flip_test(sum(_correct(reader, before) - _correct(reader, after) for before, after, _ in scored))
    else:
        p_value = p_from_limits(drop.pp, drop.low_pp, drop.high_pp)
    return (
        Change(
            before=mean(before.top1 for before, _, _ in scored),
            after=mean(after.top1 for _, after, _ in scored),
            change=drop.pp,
            low=drop.low_pp,
            high=drop.high_pp,
            p_value=p_value,
            paired=drop.paired,
            pairs=len(scored),
        ),
    )


def _correct(reader: Correctness, result: EvaluateResult) -> NDArray[np.int64]:
    raw = (reader.bits(result) or 0).to_bytes((result.samples + 7) // 8, "big")
    return np.unpackbits(np.frombuffer(raw, dtype=np.uint8))[: result.samples].astype(np.int64)


def relative(value: Callable[[TrialResult], float | None], group: Group) -> Sequence[Change]:
    """Return the relative change of something, the geometric mean over seeds."""
    found = [
        (before, after)
        for pair in group.pairs
        if (before := value(pair.before)) is not None and (after := value(pair.after)) is not None
    ]
    ratio = geometric_mean(after / before for before, after in found if before > 0)
    if ratio is None:
        return ()
    before, after = map(mean, zip(*found, strict=True))
    return (Change(before=before, after=after, change=ratio - 1, pairs=len(found)),)


def sparsity_drop(group: Group) -> Sequence[Change]:
    """Return the sparsity of the prunable weights that was lost, in percentage points."""
    found = [
        (p.before.trained.sparsity, p.after.trained.sparsity)
        for p in group.pairs
        if p.before.trained and p.after.trained
    ]
    if not found:
        return ()
    before, after = (sum(values) / len(found) for values in zip(*found, strict=True))
    return (Change(before=before, after=after, change=100 * (before - after), pairs=len(found)),)


# -- latency, though the two runs were not timed together --------------------------------------------------------------


class Timed(NamedTuple):
    """A latency, the machine it was taken on, and its ratio to a baseline that was timed in the same rounds.

    The baseline is dense fp32 on eager, or where that was not timed along, of its own backend. ``is_reference`` is
    whether it is the very network that others are timed beside, of which a ratio says nothing.
    """

    machine: str
    measured: MeasureResult
    reference: RatioResult
    is_reference: bool


TimedPair = tuple[Timed, Timed]
"""The same network in two runs."""


def latency(compare: Callable[[Setting, Sequence[TimedPair]], Change | None], group: Group) -> Sequence[Change]:
    """Return how latency changed, at each batch size and number of threads.

    The runs were timed in different sessions, which share no rounds: whatever the machine did in one of them and not in
    the other would pass for a change of the network. So what is compared is each network's ratio to its baseline.
    """
    settings: defaultdict[Setting, list[TimedPair]] = defaultdict(list)
    missing: dict[Setting, Change] = {}
    for pair in group.pairs:
        before, after = _timed(pair.before), _timed(pair.after)
        for setting, timed in before.items():
            if setting in after:
                settings[setting].append((timed, after[setting]))
            elif not pair.lost:
                missing[setting] = _open(setting, "it was not timed in the second run")
    found = [change for setting, timed in settings.items() if (change := compare(setting, timed))]
    return (*found, *(change for setting, change in missing.items() if setting not in settings))


def _timed(trial: TrialResult) -> dict[Setting, Timed]:
    found = {}
    for record in trial.measure:
        if isinstance(result := record.result, MeasureResult):
            ratio = result.against_eager or result.against
            timed = Timed(record.environment.machine, result, ratio, ratio.compress == trial.trial.compress)
            found[result.batch_size, result.threads] = timed
    return found


def _incomparable(timed: Sequence[TimedPair]) -> str:
    """Return why latencies of two sessions cannot be compared, empty where they can."""
    for before, after in timed:
        mine, theirs = before.measured, after.measured
        for text, first, second in (
            ("it was timed on {} and on {}", before.machine, after.machine),
            ("it was timed by the protocols {} and {}", mine.protocol, theirs.protocol),
            (
                "only one of the two was timed in worker processes",
                mine.session.in_process_because is None,
                theirs.session.in_process_because is None,
            ),
            ("it was timed beside {} and beside {}", before.reference.baseline, after.reference.baseline),
        ):
            if first != second:
                return text.format(first, second)
        if not (mine.session.valid and theirs.session.valid):
            return f"{INVALID} timing: a second copy of the baseline was found different from it"
    return ""


def _open(setting: Setting, why: str) -> Change:
    return Change(setting=setting, open=why, said=INVALID if why.startswith(INVALID) else "")


def _median_change(setting: Setting, timed: Sequence[TimedPair]) -> Change | None:
    if any(one.is_reference for pair in timed for one in pair):
        return None
    if why := _incomparable(timed):
        return _open(setting, why)
    ratios = [[one.reference for one in side] for side in zip(*timed, strict=True)]
    known = [[log for r in side if (log := log_ratio(r.ratio, r.low, r.high, r.generation_ratios))] for side in ratios]
    if min(map(len, known)) < len(timed):
        return _open(setting, "it was timed in fewer than two worker processes")
    before, after = (geometric_mean(ratio.ratio for ratio in side) for side in ratios)
    ratio, low, high, p_value = unpaired_change(*known)
    return Change(
        before=before,
        after=after,
        change=ratio - 1,
        low=low - 1,
        high=high - 1,
        p_value=p_value,
        setting=setting,
        pairs=len(timed),
    )


def _tail_change(setting: Setting, timed: Sequence[TimedPair]) -> Change | None:
    """Return how the 95th percentile changed beside the median of the same session; it has no interval."""
    if why := _incomparable(timed):
        return _open(setting, why)
    before, after = (geometric_mean(map(_tail, side)) for side in zip(*timed, strict=True))
    if not before or not after:
        return None
    return Change(before=before, after=after, change=after / before - 1, setting=setting, pairs=len(timed))


def _tail(timed: Timed) -> float | None:
    """Return the 95th percentile in medians of the baseline: ratio × (p95 / median)."""
    measured = timed.measured
    return timed.reference.ratio * measured.p95_ms / measured.median_ms if measured.median_ms > 0 else None


def _exact(name: str, *dimensions: Dimension) -> Metric:
    return Metric(name, dimensions, partial(relative, partial(exact_value, name)), exact=True)


def _peak_memory(trial: TrialResult) -> float | None:
    return mean(measured.peak_memory_bytes for measured in trial.measured)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy_drop", (POINTS,), accuracy_drop, tested=True),
        Metric("latency_p50", (PERCENT,), partial(latency, _median_change), tested=True, timed=True),
        Metric("latency_p95", (PERCENT,), partial(latency, _tail_change), timed=True),
        _exact("size", PERCENT, BYTES),
        _exact("deflated_size", PERCENT, BYTES),
        _exact("macs", PERCENT),
        _exact("memory", PERCENT, BYTES),
        Metric("peak_memory", (PERCENT, BYTES), partial(relative, _peak_memory)),
        Metric("sparsity_drop", (POINTS,), sparsity_drop, exact=True),
    )
}
"""What can be compared, by name; docs/how-to/ci-gate.md says what each is."""
