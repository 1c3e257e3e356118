"""What is trained, converted and evaluated for a search: parts of plans that a sweep would have too."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from sparsebench.config import PrunerConfig, SweepConfig
from sparsebench.runner.facts import FP32
from sparsebench.runner.plan import Plan
from sparsebench.store.records import TrialRecord, TrialResult, pruning_in_short


@dataclass(frozen=True)
class Format:
    """A scheme on a backend, by the backend's label: in what a trained network is shipped."""

    scheme: str
    backend: str

    @property
    def label(self) -> str:
        """The format in short: ``static · eager``."""
        return f"{self.scheme} · {self.backend}"

    @classmethod
    def of(cls, trial: TrialRecord) -> "Format":
        """Return the format of a trial."""
        return cls(trial.scheme, trial.backend)


@dataclass(frozen=True, eq=False)
class Network:
    """A network that may be trained: the pruner and the threshold that it is pruned to."""

    pruner: PrunerConfig
    threshold: float

    @property
    def key(self) -> tuple[str, float]:
        """What tells it from others, as trials name it."""
        return self.pruner.label, self.threshold

    @property
    def label(self) -> str:
        """The network in short, as reports name it."""
        return pruning_in_short(*self.key)


def network_key(trial: TrialRecord) -> tuple[str, float]:
    """Return the key of the network that a trial is of; an empty pruner for the dense one."""
    return trial.pruner or "", trial.threshold


def with_control(config: SweepConfig) -> SweepConfig:
    """Return the config of a sweep with the dense network alone, always in fp32 too: what others are compared with.

    Of several numbers of calibration batches it has the largest.
    """
    pruners = tuple(pruner.model_copy(update={"thresholds": None}) for pruner in config.pruners)
    quantize = config.quantize.model_copy(
        update={"calibration_batches": config.quantize.calibration_batches[-1:]},
    )
    schemes = tuple(dict.fromkeys((FP32, *config.schemes)))
    return config.model_copy(
        update={"thresholds": (0.0,), "pruners": pruners, "schemes": schemes, "quantize": quantize}
    )


def shortened(config: SweepConfig, epochs: int, timed: bool = False) -> SweepConfig:
    """Return a config that trains for so many epochs from the very dense network of ``config``.

    It has the first seed alone, and the dense network is its own control. Nothing is timed unless it is asked for.
    """
    train = config.train
    dense = {"dense_control": "as_trained", "dense_epochs": train.dense_epochs or train.epochs or None}
    short = train.model_copy(update={"epochs": epochs if train.epochs else 0, **dense})
    measure = config.measure if timed else config.measure.model_copy(update={"batch_sizes": ()})
    return config.model_copy(update={"train": short, "seeds": config.seeds[:1], "measure": measure})


def with_networks(config: SweepConfig, networks: Iterable[Network]) -> SweepConfig:
    """Return a config whose sweep has these networks and the control."""
    thresholds: dict[str, set[float]] = {}
    pruners: dict[str, PrunerConfig] = {}
    for network in networks:
        pruners.setdefault(network.pruner.label, network.pruner)
        thresholds.setdefault(network.pruner.label, {0.0}).add(network.threshold)
    if not pruners:
        return config
    own = tuple(
        pruner.model_copy(update={"thresholds": tuple(sorted(thresholds[label]))}) for label, pruner in pruners.items()
    )
    return config.model_copy(update={"pruners": own})


def part(plan: Plan, wanted: Callable[[TrialRecord], bool], *, test: bool = False, timed: bool = False) -> Plan:
    """Return the part of a plan that some trials need.

    Args:
        plan: the whole.
        wanted: which trials; those that are not offered are left out.
        test: whether they are evaluated on the test set.
        timed: whether they are timed.
    """
    kept = tuple(
        replace(trial, evaluate=trial.evaluate if test else None, measure=trial.measure if timed else ())
        for trial in plan.trials
        if not trial.not_offered and wanted(trial)
    )
    by_key = {stage.key: stage for stage in plan.stages}
    needed: set[str] = set()
    waiting: list[str] = []
    for trial in kept:
        waiting += [key for key in (trial.compress, trial.validate, trial.evaluate, *trial.measure) if key]
    while waiting:
        key = waiting.pop()
        if key not in needed:
            needed.add(key)
            stage = by_key[key]
            waiting += [*filter(None, [stage.parent]), *stage.baselines]
    return Plan(stages=tuple(stage for stage in plan.stages if stage.key in needed), trials=kept)


def stage_seconds(trials: Iterable[TrialResult]) -> Mapping[str, float]:
    """Return the seconds of all stages of some trials by key, timing left out: that lasts as long as it is given."""
    records = (record for trial in trials for record in trial.records if record.stage != "measure")
    return {record.key: record.seconds for record in records}
