"""How what needs no clock changed from one run to another: accuracy, and what is known exactly or estimated once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.decide.matching import Group
from sparsebench.points.drops import Correctness, mean_drop
from sparsebench.points.latency import Setting
from sparsebench.statistics.accuracy import p_from_limits, sign_flip_test
from sparsebench.statistics.spread import geometric_mean, mean
from sparsebench.store.records import TrialResult
from sparsebench.store.results import EvaluateResult


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one metric of one group changed.

    Attributes:
        before: the value in the first run, a mean over seeds; a fraction, bytes, MACs, or a ratio to the baseline.
        after: the same in the second.
        change: what limits are compared with: percentage points lost, or the relative change as a fraction.
        low: lower limit of its 95 % interval, None where it has none.
        high: upper limit.
        p_value: of "nothing changed", None where it is not tested.
        p_adjusted: the same, adjusted (Holm) over all groups and settings of this metric.
        paired: whether the two were compared sample by sample.
        setting: the batch size and threads of a latency.
        said: the verdict on a latency; empty for other metrics.
        pairs: how many seeds it is of.
        open: why it could not be compared, though both runs measured it; empty where it was.
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
    sizes = {result.samples for before, after, _ in scored for result in (before, after)}
    if drop.paired and len(sizes) == 1:
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
