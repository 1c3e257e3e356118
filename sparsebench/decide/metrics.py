"""What can be compared between two runs, and named in a gate."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sparsebench.decide.changes import Change, accuracy_drop, relative, sparsity_drop
from sparsebench.decide.latency_changes import latency_p50, latency_p95
from sparsebench.decide.matching import Group
from sparsebench.points.rows import exact_value
from sparsebench.statistics.spread import mean
from sparsebench.statistics.verdicts import holm, verdict
from sparsebench.store.records import TrialResult
from sparsebench.wording.numbers import BYTES, PERCENT, POINTS, Dimension


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
    p = next(p_values)
    said = change.said
    if change.setting and change.change is not None and change.low is not None and change.high is not None:
        said = str(verdict(1 + change.change, 1 + change.low, 1 + change.high, p, band))
    return replace(change, p_adjusted=p, said=said)


def _exact(name: str, *dimensions: Dimension) -> Metric:
    return Metric(name, dimensions, partial(relative, partial(exact_value, name)), exact=True)


def _peak_memory(trial: TrialResult) -> float | None:
    return mean(measured.peak_memory_bytes for measured in trial.measured)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy_drop", (POINTS,), accuracy_drop, tested=True),
        Metric("latency_p50", (PERCENT,), latency_p50, tested=True, timed=True),
        Metric("latency_p95", (PERCENT,), latency_p95, timed=True),
        _exact("size", PERCENT, BYTES),
        _exact("deflated_size", PERCENT, BYTES),
        _exact("macs", PERCENT),
        _exact("memory", PERCENT, BYTES),
        Metric("peak_memory", (PERCENT, BYTES), partial(relative, _peak_memory)),
        Metric("sparsity_drop", (POINTS,), sparsity_drop, exact=True),
    )
}
"""What can be compared, by name; docs/how-to/ci-gate.md says what each is."""
