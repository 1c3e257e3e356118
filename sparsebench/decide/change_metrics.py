"""What can be compared between two runs, and named in a gate."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sparsebench.decide.accuracy_change import accuracy_drop
from sparsebench.decide.change import Change
from sparsebench.decide.latency_change import latency_p50, latency_p95
from sparsebench.decide.matching import Group
from sparsebench.points.exact_values import deflated_file_bytes, effective_macs, file_bytes, working_memory_bytes
from sparsebench.statistics.spread import geometric_mean, mean
from sparsebench.statistics.verdicts import holm, verdict
from sparsebench.store.run import TrialResult
from sparsebench.wording.quantities import BYTES, PERCENT, POINTS, Dimension


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Something that can be compared between runs, and that a gate may name.

    Attributes:
        name: as gates name it.
        help: what it is, as the documentation of gates says it.
        dimensions: of the limits that a gate may have.
        tested: whether it has an interval and a test; where not, it is known exactly or is an estimate alone.
        exact: whether it is known exactly.
        timed: whether it needs a clock.
        changes: how it changed in a group; empty where it was not measured in both runs.
    """

    name: str
    help: str
    dimensions: tuple[Dimension, ...]
    changes: Callable[[Group], Sequence[Change]]
    tested: bool = False
    exact: bool = True
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
    p_values = iter(holm(tests).tolist() if tests else ())
    return tuple(tuple(_judged(change, p_values, band) for change in changes) for changes in found)


def _judged(change: Change, p_values: Iterator[float], band: float) -> Change:
    if change.p_value is None:
        return change
    p = next(p_values)
    said = change.said
    if change.setting and change.change is not None and change.low is not None and change.high is not None:
        said = str(verdict(1 + change.change, 1 + change.low, 1 + change.high, p, band))
    return replace(change, p_adjusted=p, said=said)


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
    before, after = mean(one for one, _ in found), mean(one for _, one in found)
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


def _peak_memory(trial: TrialResult) -> float | None:
    return mean(measured.peak_memory_bytes for measured in trial.measured)


_LATENCY = "of its ratio to a baseline timed in the same rounds"

METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            name="accuracy_drop",
            help="top-1 accuracy lost, in percentage points",
            dimensions=(POINTS,),
            changes=accuracy_drop,
            tested=True,
            exact=False,
        ),
        Metric(
            name="latency_p50",
            help=f"relative growth of the median latency: {_LATENCY}",
            dimensions=(PERCENT,),
            changes=latency_p50,
            tested=True,
            exact=False,
            timed=True,
        ),
        Metric(
            name="latency_p95",
            help="relative growth of the 95th percentile, in medians of that baseline; an estimate without an interval",
            dimensions=(PERCENT,),
            changes=latency_p95,
            exact=False,
            timed=True,
        ),
        Metric(
            name="size",
            help="growth of the saved file",
            dimensions=(PERCENT, BYTES),
            changes=partial(relative, file_bytes),
        ),
        Metric(
            name="deflated_size",
            help="growth of the saved file after DEFLATE",
            dimensions=(PERCENT, BYTES),
            changes=partial(relative, deflated_file_bytes),
        ),
        Metric(
            name="macs",
            help="relative growth of multiply-accumulates with a non-zero weight",
            dimensions=(PERCENT,),
            changes=partial(relative, effective_macs),
        ),
        Metric(
            name="memory",
            help="growth of the working memory: activations at batch 1, without weights",
            dimensions=(PERCENT, BYTES),
            changes=partial(relative, working_memory_bytes),
        ),
        Metric(
            name="peak_memory",
            help="growth of what running it adds to the memory of a process; an estimate without an interval",
            dimensions=(PERCENT, BYTES),
            changes=partial(relative, _peak_memory),
            exact=False,
        ),
        Metric(
            name="sparsity_drop",
            help="sparsity of the prunable weights lost, in percentage points",
            dimensions=(POINTS,),
            changes=sparsity_drop,
        ),
    )
}
"""What can be compared, by name."""
