"""Two runs side by side: which trial of one is which of the other."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsebench.points.baselines import EAGER, FP32, identity
from sparsebench.store.records import EnvironmentRecord, pruning_in_short
from sparsebench.store.run import Run, TrialResult

Spot = tuple[str, str, str | None, float, str, str, int | None]
"""What the seeds of a pair share: model, data, pruner, threshold, scheme, backend, calibration batches."""

LEFT_OUT = ("not offered", "pending")
"""What a trial may be in both runs without anybody missing it."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same trial of two runs."""

    before: TrialResult
    after: TrialResult

    @property
    def same_data(self) -> bool:
        """Whether both read the same samples, as far as their settings tell: name, options, fingerprint and source."""
        first, second = (
            trial.train.settings.get("data") if trial.train else None for trial in (self.before, self.after)
        )
        return bool(first == second)

    @property
    def lost(self) -> bool:
        """Whether there was a result before and is none after."""
        return self.before.status == "done" and self.after.status != "done"


@dataclass(frozen=True, kw_only=True)
class Group:
    """The pairs that differ in nothing but their seed."""

    spot: Spot
    pairs: tuple[Pair, ...]

    @property
    def pruning(self) -> str:
        """Pruner and threshold in short: ``magnitude 0.9``, or ``dense``."""
        _, _, pruner, threshold, *_ = self.spot
        return pruning_in_short(pruner, threshold)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in the order of the pairs."""
        return tuple(pair.before.trial.seed for pair in self.pairs)

    @property
    def is_dense_fp32(self) -> bool:
        """Whether it is the network that others are timed beside."""
        return self.spot[3] == 0.0 and self.spot[4] == FP32


@dataclass(frozen=True, kw_only=True)
class Match:
    """What two runs share, and what only one of them has."""

    groups: tuple[Group, ...]
    only_before: tuple[TrialResult, ...]
    only_after: tuple[TrialResult, ...]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs."""
        return tuple(pair for group in self.groups for pair in group.pairs)


def match(before: Run, after: Run) -> Match:
    """Match the trials of two runs by model, data, pruner, threshold, seed, scheme, backend and calibration batches.

    Trials that neither run could or did carry out are left out.
    """
    earlier, later = ({identity(t): t for t in run.trials} for run in (before, after))
    grouped: defaultdict[Spot, list[Pair]] = defaultdict(list)
    for key, trial in earlier.items():
        other = later.get(key)
        if other and not (trial.status in LEFT_OUT and other.status in LEFT_OUT):
            grouped[_spot(trial)].append(Pair(before=trial, after=other))
    return Match(
        groups=tuple(Group(spot=spot, pairs=tuple(pairs)) for spot, pairs in sorted(grouped.items(), key=_order)),
        only_before=tuple(trial for key, trial in earlier.items() if key not in later),
        only_after=tuple(trial for key, trial in later.items() if key not in earlier),
    )


def apart(group: Group) -> tuple[Group, ...]:
    """Return a group for each seed."""
    return tuple(Group(spot=group.spot, pairs=(pair,)) for pair in group.pairs)


def differing_settings(before: Run, after: Run) -> dict[str, tuple[Any, Any]]:
    """Return the keys of the configs that differ, with both values; those that only one has are None in the other."""
    first, second = (dict(_flat(run.record.config)) for run in (before, after))
    keys = dict.fromkeys((*first, *second))
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def differing_versions(before: Run, after: Run) -> dict[str, tuple[str, str]]:
    """Return the libraries whose versions differ, and the machines where those do."""
    first, second = (_environment(run) for run in (before, after))
    return {
        name: (first.get(name, "none"), second.get(name, "none"))
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name)
    }


def _environment(run: Run) -> dict[str, str]:
    environment = _common([record.environment for t in run.trials for record in t.stages] or [run.record.environment])
    return {
        "machine": environment.machine,
        "sparsebench": run.record.sparsebench,
        "python": environment.python,
        **environment.versions,
    }


def _common(environments: Sequence[EnvironmentRecord]) -> EnvironmentRecord:
    """Return the environment of most records."""
    by_key = {(e.machine, e.python, tuple(sorted(e.versions.items()))): e for e in environments}
    counts = Counter((e.machine, e.python, tuple(sorted(e.versions.items()))) for e in environments)
    return by_key[counts.most_common(1)[0][0]]


def _spot(trial: TrialResult) -> Spot:
    model, data, pruner, threshold, _, scheme, backend, batches = identity(trial)
    return model, data, pruner, threshold, scheme, backend, batches


def _order(item: tuple[Spot, Any]) -> tuple[Any, ...]:
    """Return where a group stands: model, data, backend (eager first), pruner, threshold, scheme (fp32 first)."""
    model, data, pruner, threshold, scheme, backend, batches = item[0]
    return model, data, backend != EAGER, backend, pruner or "", threshold, scheme != FP32, scheme, batches or 0


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
