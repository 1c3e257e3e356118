"""The metrics that can be compared between two runs and named in a gate, and how they changed from one to the other."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sparsebench.decide.matching import Group
from sparsebench.decide.metric import Change, Metric
from sparsebench.decide.speed_changes import medians, tails
from sparsebench.points.drops import Correctness, mean_drop
from sparsebench.points.rows import exact_value
from sparsebench.statistics.accuracy import p_from_limits, sign_flip_test
from sparsebench.statistics.spread import geometric_mean, mean
from sparsebench.statistics.verdicts import holm
from sparsebench.store.records import TrialResult
from sparsebench.store.results import EvaluateResult
from sparsebench.wording.numbers import BYTES, PERCENT, POINTS, Dimension


def every_change(groups: Sequence[Group], metric: Metric, band: float) -> tuple[tuple[Change, ...], ...]:
    """Return how a metric changed in each group, with all of them in view.

    Args:
        groups: what was matched.
        metric: what is compared.
        band: relative differences of speedups up to this fraction do not matter.
    """
    found = [tuple(metric.changes(group)) for group in groups]
    tests = [change.p_value for changes in found for change in changes if change.p_value is not None]
    if metric.together is not None:
        return tuple(tuple(metric.together(group, max(1, len(tests)), band)) for group in groups)
    p_values = iter(holm(tests).tolist())
    return tuple(
        tuple(c if c.p_value is None else replace(c, p_adjusted=next(p_values)) for c in changes) for changes in found
    )


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


def _exact(name: str, *dimensions: Dimension) -> Metric:
    return Metric(name, dimensions, partial(relative, partial(exact_value, name)), exact=True)


def _peak_memory(trial: TrialResult) -> float | None:
    return mean(measured.peak_memory_bytes for measured in trial.measured)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy_drop", (POINTS,), accuracy_drop, tested=True),
        Metric("latency_p50", (PERCENT,), medians, tested=True, timed=True, together=medians),
        Metric("latency_p95", (PERCENT,), tails, timed=True),
        _exact("size", PERCENT, BYTES),
        _exact("deflated_size", PERCENT, BYTES),
        _exact("macs", PERCENT),
        _exact("memory", PERCENT, BYTES),
        Metric("peak_memory", (PERCENT, BYTES), partial(relative, _peak_memory)),
        Metric("sparsity_drop", (POINTS,), sparsity_drop, exact=True),
    )
}
"""What can be compared, by name; docs/how-to/ci-gate.md says what each is."""
