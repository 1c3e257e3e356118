"""How latency changed from one run to another, though the two were not timed together."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sparsebench.decide.changes import Change
from sparsebench.decide.matching import Group
from sparsebench.points.latency import INVALID, Setting
from sparsebench.statistics.ratios import log_ratio, unpaired_change
from sparsebench.statistics.spread import geometric_mean
from sparsebench.statistics.verdicts import Verdict
from sparsebench.store.records import TrialResult
from sparsebench.store.timings import MeasureResult, RatioResult


class Timed(NamedTuple):
    """A latency, the machine it was taken on, and the key of the stage that made the network."""

    machine: str
    compress: str | None
    measured: MeasureResult

    @property
    def reference(self) -> RatioResult:
        """The ratio to dense fp32 on eager, or where that was not timed along, of the network's own backend."""
        return self.measured.against_eager or self.measured.against

    @property
    def is_reference(self) -> bool:
        """Whether it is the very network that others are timed beside, of which a ratio says nothing."""
        return self.reference.compress == self.compress


TimedPair = tuple[Timed, Timed]
"""The same network in two runs."""


def latency_p50(group: Group) -> Sequence[Change]:
    """Return how latency changed, at each batch size and number of threads.

    The runs were timed in different sessions, which share no rounds: whatever the machine did in one of them and not in
    the other would pass for a change of the network. So what is compared is each network's ratio to a baseline that was
    timed in the same rounds: dense fp32 on eager, or where that was not timed along, of its own backend.
    """
    return _by_setting(group, _median_change)


def latency_p95(group: Group) -> Sequence[Change]:
    """Return how the 95th percentile changed beside the median of the same session; it has no interval."""
    return _by_setting(group, _tail_change)


def _by_setting(group: Group, compare: Callable[[Setting, Sequence[TimedPair]], Change | None]) -> Sequence[Change]:
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
    return {
        (result.batch_size, result.threads): Timed(record.environment.machine, trial.trial.compress, result)
        for record in trial.measure
        if isinstance(result := record.result, MeasureResult)
    }


def _incomparable(timed: Sequence[TimedPair]) -> str:
    """Return why latencies of two sessions cannot be compared, empty where they can."""
    for before, after in timed:
        if before.machine != after.machine:
            return f"it was timed on {before.machine} and on {after.machine}"
        if before.measured.protocol != after.measured.protocol:
            return f"it was timed by the protocols {before.measured.protocol} and {after.measured.protocol}"
        if (before.measured.session.in_process_because is None) != (after.measured.session.in_process_because is None):
            return "only one of the two was timed in worker processes"
        if before.reference.baseline != after.reference.baseline:
            return f"it was timed beside {before.reference.baseline} and beside {after.reference.baseline}"
        if not (before.measured.session.valid and after.measured.session.valid):
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
        said=str(Verdict.INCONCLUSIVE),
        pairs=len(timed),
    )


def _tail_change(setting: Setting, timed: Sequence[TimedPair]) -> Change | None:
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
