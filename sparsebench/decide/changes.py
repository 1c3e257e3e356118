"""The metrics that can be compared between two runs and named in a gate, and how they changed from one to the other."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from sparsebench.decide.matching import Group
from sparsebench.decide.metric import Change, Metric
from sparsebench.decide.speed_changes import medians, tails
from sparsebench.points.drops import Correctness, drops_of, scored
from sparsebench.points.rows import exact_value
from sparsebench.statistics.spread import geometric_mean, mean
from sparsebench.statistics.verdicts import LEVEL, holm
from sparsebench.store.records import TrialResult
from sparsebench.store.scales import Scale
from sparsebench.wording.numbers import BYTES, PERCENT, POINTS, Dimension


def every_change(groups: Sequence[Group], metric: Metric, band: float) -> tuple[tuple[Change, ...], ...]:
    """Return how a metric changed in each group, with all of them in view.

    Args:
        groups: what was matched.
        metric: what is compared.
        band: relative differences of speedups up to this fraction do not matter.
    """
    found = [tuple(metric.changes(group)) for group in groups]
    # Where nothing differs nothing can be found, neither rightly nor by chance.
    count = sum(change.p_value is not None and not change.same for changes in found for change in changes)
    if metric.together is not None:
        found = [tuple(metric.together(group, max(1, count), band)) for group in groups]
    tests = [c for changes in found for c in changes if _is_open(c) and not c.same]
    adjusted = dict(zip(map(id, tests), holm([p for c in tests if (p := c.p_value) is not None]).tolist(), strict=True))
    return tuple(
        tuple(replace(c, p_adjusted=adjusted.get(id(c), 1.0)) if _is_open(c) else c for c in changes)
        for changes in found
    )


def _is_open(change: Change) -> bool:
    return change.p_value is not None and change.p_adjusted is None


# -- accuracy, and what is known exactly or estimated once -------------------------------------------------------------


def metric_drop(group: Group, tests: int = 1, band: float = 0.0) -> Sequence[Change]:
    """Return what is lost of the metric, with its intervals; nothing where it is another before than after.

    They are for these networks and, from two seeds up, for another training.

    Seeds are paired where both runs hold the same trained networks, so that only what was made of them can differ.
    Otherwise the trainings of one run have nothing in common with those of the other but the numbers of their seeds.

    Args:
        group: the pairs of one operating point.
        tests: changes that are judged together.
        band: not used; metrics have none.
    """
    del band
    pairs = [
        (before, after, pair)
        for pair in group.pairs
        if scored(before := pair.before.evaluated) and scored(after := pair.after.evaluated)
    ]
    if not pairs or len({result.scale for *both, _ in pairs for result in both}) > 1:
        return ()
    reader, same_data = Correctness(), all(pair.same_data for *_, pair in pairs)
    if all(pair.same_training for *_, pair in pairs):
        found = reader.joined([((1, before), (-1, after)) for before, after, _ in pairs], same_data=same_data)
    else:
        columns = [((1, before),) for before, *_ in pairs] + [((1, after),) for _, after, _ in pairs]
        found = reader.joined(columns, sides=2, same_data=same_data)
    (drop,) = drops_of([found])
    same = drop.unchanged or all(before == after for before, after, _ in pairs)
    return (
        Change(
            before=mean(before.value for before, *_ in pairs),
            after=mean(after.value for _, after, _ in pairs),
            change=drop.loss,
            low=drop.judged.low,
            high=drop.judged.high,
            p_value=drop.judged.p_value,
            same=same,
            paired=drop.paired,
            pairs=len(pairs),
            over=drop.over,
            these_networks=drop.these_networks,
            another_training=drop.another_training,
            finds=None if same else drop.scale.factor * float(found.judged.reach(LEVEL / tests)),
            scale=drop.scale,
        ),
    )


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
    same = all(one == other for one, other in found)
    return (Change(before=before, after=after, change=ratio - 1, same=same, pairs=len(found)),)


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
    same = all(one == other for one, other in found)
    return (Change(before=before, after=after, change=100 * (before - after), same=same, pairs=len(found)),)


def _exact(name: str, *dimensions: Dimension) -> Metric:
    return Metric(name, dimensions, partial(relative, partial(exact_value, name)), exact=True)


def _peak_memory(trial: TrialResult) -> float | None:
    return mean(measured.peak_memory_bytes for measured in trial.measured)


METRIC_DROP = "accuracy_drop"
"""What is lost of a run's metric, by the name that it has for accuracy."""


def drop_name(scale: Scale) -> str:
    """Return how gates call what is lost of a metric: ``mean_absolute_error_drop``."""
    return METRIC_DROP if scale.is_accuracy else f"{scale.metric}_drop"


METRICS = {
    metric.name: metric
    for metric in (
        Metric(METRIC_DROP, (POINTS,), metric_drop, tested=True, together=metric_drop),
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
