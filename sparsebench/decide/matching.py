"""Two runs side by side: which trial of one is which of the other."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mode
from typing import Any, NamedTuple

from sparsebench.points.baselines import EAGER, FP32, identity
from sparsebench.registry import LIVE
from sparsebench.store.records import Run, TrialResult, pruning_in_short

LEFT_OUT = ("not offered", "pending")
"""What a trial may be in both runs without anybody missing it."""


class Spot(NamedTuple):
    """What the seeds of a group share."""

    model: str
    data: str
    pruner: str | None
    threshold: float
    scheme: str
    backend: str
    calibration_batches: int | None


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
    def same_training(self) -> bool:
        """Whether both are made of the same trained network, weight for weight, as far as records tell."""
        first, second = (_weights(trial) for trial in (self.before, self.after))
        return bool(first) and first == second

    @property
    def same_timing(self) -> bool:
        """Whether both have the same latencies of the same sessions."""
        return self.before.timed == self.after.timed

    @property
    def lost(self) -> bool:
        """Whether there was a result before and is none after."""
        return self.before.status == "done" and self.after.status != "done"


def _weights(trial: TrialResult) -> dict[str, str]:
    """Return the digests of the files that hold the weights of the trained network."""
    artifacts = trial.train.artifacts if trial.train else {}
    return {name: digest for name, digest in artifacts.items() if name.endswith(".safetensors")}


@dataclass(frozen=True, kw_only=True)
class Group:
    """The pairs that differ in nothing but their seed."""

    spot: Spot
    pairs: tuple[Pair, ...]

    @property
    def pruning(self) -> str:
        """Pruner and threshold in short: ``magnitude 0.9``, or ``dense``."""
        return pruning_in_short(self.spot.pruner, self.spot.threshold)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in the order of the pairs."""
        return tuple(pair.before.trial.seed for pair in self.pairs)

    @property
    def is_dense_fp32(self) -> bool:
        """Whether it is the network that others are timed beside."""
        return self.spot.threshold == 0.0 and self.spot.scheme == FP32


def match(before: Run, after: Run) -> tuple[tuple[Group, ...], tuple[TrialResult, ...], tuple[TrialResult, ...]]:
    """Match the trials of two runs by model, data, pruner, threshold, seed, scheme, backend and calibration batches.

    Objects of Python are known by what they are called, for a network that was changed has another digest; where a run
    has several of one name, by their digests too.

    Returns:
        What both have, the trials that only the first has, and those that only the second has. Trials that neither run
        could or did carry out are left out.
    """
    known_by = identity if any(map(_has_namesakes, (before, after))) else _undigested
    earlier, later = ({known_by(t): t for t in run.trials} for run in (before, after))
    grouped: defaultdict[Spot, list[Pair]] = defaultdict(list)
    for key, trial in earlier.items():
        other = later.get(key)
        if other and not (trial.status in LEFT_OUT and other.status in LEFT_OUT):
            model, data, pruner, threshold, _, scheme, backend, batches = key
            spot = Spot(model, data, pruner, threshold, scheme, backend, batches)
            grouped[spot].append(Pair(before=trial, after=other))
    return (
        tuple(Group(spot=spot, pairs=tuple(grouped[spot])) for spot in sorted(grouped, key=_order)),
        tuple(trial for key, trial in earlier.items() if key not in later),
        tuple(trial for key, trial in later.items() if key not in earlier),
    )


def _undigested(trial: TrialResult) -> tuple[Any, ...]:
    model, data, *others = identity(trial)
    return (_called(model), _called(data), *others)


def _called(name: str) -> str:
    return name.partition("@")[0] if name.startswith(f"{LIVE}:") else name


def _has_namesakes(run: Run) -> bool:
    return len(set(map(_undigested, run.trials))) < len(set(map(identity, run.trials)))


def differing(first: Mapping[str, Any], second: Mapping[str, Any], absent: str | None) -> dict[str, tuple[Any, Any]]:
    """Return the keys whose values differ, with both; what only one of them has is ``absent`` in the other."""
    return {
        name: (first.get(name, absent), second.get(name, absent))
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name)
    }


def made_with(run: Run) -> dict[str, str]:
    """Return the machine and the versions of libraries that most records of a run were made with."""
    found = [record.environment for t in run.trials for record in t.stages] or [run.record.environment]
    kinds = [(e.machine, e.python, tuple(sorted(e.versions.items()))) for e in found]
    environment = found[kinds.index(mode(kinds))]
    return {
        "machine": environment.machine,
        "sparsebench": run.record.sparsebench,
        "python": environment.python,
        **environment.versions,
    }


def _order(spot: Spot) -> tuple[Any, ...]:
    """Return where a group stands: model, data, backend (eager first), pruner, threshold, scheme (fp32 first)."""
    where = spot.model, spot.data, spot.backend != EAGER, spot.backend
    how = spot.pruner or "", spot.threshold, spot.scheme != FP32, spot.scheme, spot.calibration_batches or 0
    return where + how
