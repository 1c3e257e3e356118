"""How speedups changed from one run to another, though the two runs were not timed together."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from sparsebench.decide.matching import Group
from sparsebench.decide.metric import Change
from sparsebench.points.latency import Setting
from sparsebench.statistics.ratios import log_ratio, unpaired_change
from sparsebench.statistics.spread import geometric_mean
from sparsebench.statistics.verdicts import Validity, verdict
from sparsebench.store.records import TrialResult
from sparsebench.store.timings import MeasureResult, SpeedupResult


class Timed(NamedTuple):
    """A latency, the machine it was taken on, and its speedup over a baseline that was timed in the same rounds.

    The baseline is dense fp32 on eager, or where that was not timed along, of its own backend. ``is_reference`` is
    whether it is the very network that others are timed beside, whose speedup says nothing.
    """

    machine: str
    measured: MeasureResult
    reference: SpeedupResult
    is_reference: bool


TimedPair = tuple[Timed, Timed]
"""The same network in two runs."""


def _at_each_setting(
    compare: Callable[[Setting, Sequence[TimedPair]], Change | None], group: Group
) -> Sequence[Change]:
    """Return how latency changed, at each batch size and number of threads.

    The runs were timed in different sessions, which share no rounds: whatever the machine did in one of them and not in
    the other would pass for a change of the network. So what is compared is each network's speedup over its baseline.
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
    for machine, measured in trial.timed:
        speedup = measured.against_eager or measured.against
        timed = Timed(machine, measured, speedup, speedup.compress == trial.trial.compress)
        found[measured.batch_size, measured.threads] = timed
    return found


def _incomparable(timed: Sequence[TimedPair]) -> str:
    """Return why latencies of two sessions cannot be compared, empty where they can."""
    for before, after in timed:
        mine, theirs = before.measured, after.measured
        for text, first, second in (
            ("it was timed on {} and on {}", before.machine, after.machine),
            ("it was timed by the protocols {} and {}", mine.protocol, theirs.protocol),
            ("it was timed with caches {} and {}", mine.cache, theirs.cache),
            (
                "only one of the two was timed in worker processes",
                mine.session.in_process_because is None,
                theirs.session.in_process_because is None,
            ),
            ("it was timed beside {} and beside {}", before.reference.baseline, after.reference.baseline),
        ):
            if first != second:
                return text.format(first, second)
        if Validity.INVALID in (mine.session.state, theirs.session.state):
            return f"{Validity.INVALID} timing: copies of the baseline were found different from one another"
    return ""


def _open(setting: Setting, why: str) -> Change:
    return Change(setting=setting, open=why, said="INVALID" if why.startswith("INVALID") else "")


def medians(group: Group, tests: int = 1, band: float = 0.0) -> Sequence[Change]:
    """Return how speedups changed, with verdicts read off limits that hold for so many changes together.

    Args:
        group: the pairs of one operating point.
        tests: changes that are judged together.
        band: relative differences up to this fraction do not matter.
    """
    return _at_each_setting(partial(_median_change, tests, band), group)


def _median_change(tests: int, band: float, setting: Setting, timed: Sequence[TimedPair]) -> Change | None:
    if any(one.is_reference for pair in timed for one in pair):
        return None
    if why := _incomparable(timed):
        return _open(setting, why)
    sides = list(zip(*timed, strict=True))
    speedups = [[one.reference for one in side] for side in sides]
    logs = [
        [log for one in side if (log := log_ratio(one.reference.by_process, one.measured.session.weights))]
        for side in sides
    ]
    if min(map(len, logs)) < len(timed):
        return _open(setting, "it was timed in fewer than two worker processes")
    before, after = (geometric_mean(speedup.speedup for speedup in side) for side in speedups)
    ratio, low, high, p_value = unpaired_change(logs[0], logs[1], tests)
    sessions = [one.measured.session for pair in timed for one in pair]
    return Change(
        before=before,
        after=after,
        change=ratio - 1,
        low=low - 1,
        high=high - 1,
        p_value=p_value,
        p_adjusted=p_value,
        setting=setting,
        said=str(verdict(low, high, band, enough=all(session.enough for session in sessions))),
        noisy=any(session.state is Validity.NOISY for session in sessions),
        pairs=len(timed),
    )


def tails(group: Group) -> Sequence[Change]:
    """Return how the baseline's median / the 95th percentile changed; it has no interval."""
    return _at_each_setting(_tail_change, group)


def _tail_change(setting: Setting, timed: Sequence[TimedPair]) -> Change | None:
    if why := _incomparable(timed):
        return _open(setting, why)
    before, after = (geometric_mean(map(_tail, side)) for side in zip(*timed, strict=True))
    if not before or not after:
        return None
    return Change(before=before, after=after, change=after / before - 1, setting=setting, pairs=len(timed))


def _tail(timed: Timed) -> float | None:
    """Return the baseline's median divided by the 95th percentile: speedup × (median / p95), of one session."""
    measured = timed.measured
    return timed.reference.speedup * measured.median_ms / measured.p95_ms if measured.p95_ms > 0 else None
