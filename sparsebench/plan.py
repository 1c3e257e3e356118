"""From a config to the stages of a run, each with a key that says all it depends on. Pure: nothing is read or run.

What the plan must know of the world outside the config (data fingerprints, digests of the user's own source files,
what each backend offers, the machine) is handed in as ``Facts``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsebench.config import BackendConfig, DataConfig, ModelConfig, PrunerConfig, SweepConfig
from sparsebench.records import SCHEMA_VERSION, StageKind, TrialRecord


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a plan depends on beside its config.

    Attributes:
        data: fingerprint of each dataset, by its name in the config.
        sources: digest of the user's own modules, by reference (``package.module:callable``).
        not_offered: why a backend does not offer a scheme, by (label of the backend, scheme); offered pairs
            are absent.
        thresholds: the only thresholds that a pruner can reach, by its label; absent where it reaches any.
        calibrating: the schemes that read calibration batches.
        machine: the identity of the machine; it joins the keys of ``measure`` alone.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    not_offered: Mapping[tuple[str, str], str] = field(default_factory=dict)
    thresholds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    calibrating: frozenset[str] = frozenset({"static", "both"})
    machine: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One unit of work. Two stages with the same key have the same result (timing aside) and are run once."""

    kind: StageKind
    key: str
    parent: str | None
    settings: Mapping[str, Any]
    label: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages in an order in which each comes after its parent, and the trials made of them."""

    stages: tuple[Stage, ...]
    trials: tuple[TrialRecord, ...]


def stage_key(kind: StageKind, settings: Mapping[str, Any], parent: str | None) -> str:
    """Return the SHA-256 (64 hex digits) of a stage's settings, its parent's key and the schema version."""
    content = {"schema_version": SCHEMA_VERSION, "stage": kind, "parent": parent, "settings": settings}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def make_plan(config: SweepConfig, facts: Facts) -> Plan:
    """Return every stage and trial of ``config``.

    Trials stand seed by seed, threshold by threshold, so that a run that is stopped early has whole seeds; at
    threshold 0 there is no pruner, and all pruners share that trial.
    """
    return _Planner(config, facts).plan()


def plan_sensitivity(config: SweepConfig, facts: Facts) -> Plan:
    """Return the stages that train the dense networks of ``config`` and prune each of their layers alone.

    The thresholds are those of the sweep above 0; pruners, schemes and backends have no part in it.
    """
    return _Planner(config, facts).plan_sensitivity()


class _Planner:
    """Collects stages by key, so that a stage shared by several trials is planned once."""

    def __init__(self, config: SweepConfig, facts: Facts) -> None:
        self.config = config
        self.facts = facts
        self.stages: dict[str, Stage] = {}

    def plan(self) -> Plan:
        trials: dict[tuple[Any, ...], TrialRecord] = {}
        for seed in self.config.seeds:
            for model in self.config.model:
                for data in self.config.data:
                    for pruner in self.config.pruners:
                        for trial in self._line(model, data, pruner, seed):
                            point = (trial.model, trial.data, trial.train, trial.seed, trial.scheme, trial.backend)
                            trials.setdefault(point, trial)
        return Plan(stages=tuple(self.stages.values()), trials=tuple(trials.values()))

    def plan_sensitivity(self) -> Plan:
        pruner = PrunerConfig(name="magnitude")
        thresholds = [threshold for threshold in self.config.thresholds if threshold]
        for seed in self.config.seeds:
            for model in self.config.model:
                for data in self.config.data:
                    train = self._train(model, data, pruner, 0.0, seed, None)
                    settings = {"thresholds": thresholds, "model": model.name, "data": data.name, "seed": seed}
                    self._add("sensitivity", settings, train.key, train.label)
        return Plan(stages=tuple(self.stages.values()), trials=())

    def _line(self, model: ModelConfig, data: DataConfig, pruner: PrunerConfig, seed: int) -> list[TrialRecord]:
        """Return the trials of one model, dataset, pruner and seed over all thresholds."""
        trials = []
        previous: str | None = None
        for threshold in self._thresholds(pruner):
            train = self._train(model, data, pruner, threshold, seed, previous)
            previous = train.key
            for backend in self.config.backends:
                trials += [
                    self._trial(model, data, pruner, threshold, seed, scheme, backend, train)
                    for scheme in self.config.schemes
                ]
        return trials

    def _thresholds(self, pruner: PrunerConfig) -> tuple[float, ...]:
        """Return the thresholds of one pruner: the sweep's, or the dense control and the only ones it can reach."""
        own = self.facts.thresholds.get(pruner.label)
        if own is None:
            return self.config.thresholds
        return (*(threshold for threshold in self.config.thresholds if threshold == 0), *sorted(own))

    def _add(self, kind: StageKind, settings: Mapping[str, Any], parent: str | None, label: str) -> Stage:
        key = stage_key(kind, settings, parent)
        return self.stages.setdefault(key, Stage(kind=kind, key=key, parent=parent, settings=settings, label=label))

    def _train(
        self,
        model: ModelConfig,
        data: DataConfig,
        pruner: PrunerConfig,
        threshold: float,
        seed: int,
        previous: str | None,
    ) -> Stage:
        """Return the stage that trains one network, planning first what it starts from."""
        train = self.config.train
        dense = threshold == 0
        parent = previous
        if train.start_from == "scratch":
            parent = None
        elif train.start_from == "dense":
            pretrained = self._train_stage(model, data, None, 0.0, seed, None, "dense, from scratch")
            if dense and train.dense_control == "as_trained":
                return pretrained
            parent = pretrained.key
        how = "dense" if dense else f"{pruner.label} {threshold:g}"
        return self._train_stage(model, data, None if dense else pruner, threshold, seed, parent, how)

    def _train_stage(
        self,
        model: ModelConfig,
        data: DataConfig,
        pruner: PrunerConfig | None,
        threshold: float,
        seed: int,
        parent: str | None,
        how: str,
    ) -> Stage:
        train, facts = self.config.train, self.facts
        settings = {
            "model": {**model.model_dump(mode="json"), "source": facts.sources.get(model.name)},
            "data": {
                **data.model_dump(mode="json"),
                "fingerprint": facts.data.get(data.name),
                "source": facts.sources.get(data.name),
                "collate_source": facts.sources.get(data.collate or ""),
            },
            # Where training runs is no part of what is trained, so that a run may go on on another machine.
            "train": train.model_dump(mode="json", exclude={"device", "start_from", "dense_control"}),
            "trainer_source": facts.sources.get(train.trainer),
            "prune": self.config.prune.model_dump(mode="json") if pruner else None,
            "pruner": pruner.model_dump(mode="json") if pruner else None,
            "threshold": threshold,
            "seed": seed,
        }
        return self._add("train", settings, parent, f"{model.name} · {data.name} · {how} · seed {seed}")

    def _trial(
        self,
        model: ModelConfig,
        data: DataConfig,
        pruner: PrunerConfig,
        threshold: float,
        seed: int,
        scheme: str,
        backend: BackendConfig,
        train: Stage,
    ) -> TrialRecord:
        trial = TrialRecord(
            model=model.name,
            data=data.name,
            pruner=pruner.label if threshold else None,
            threshold=threshold,
            seed=seed,
            scheme=scheme,
            backend=backend.label,
            train=train.key,
            ancestors=self._ancestors(train),
            not_offered=self.facts.not_offered.get((backend.label, scheme)),
        )
        if trial.not_offered:
            return trial
        quantize = self.config.quantize.model_dump(mode="json") if scheme in self.facts.calibrating else None
        settings = {"scheme": scheme, "backend": backend.model_dump(mode="json"), "quantize": quantize}
        compress = self._add("compress", settings, train.key, trial.label)
        evaluate = self._add("evaluate", {"split": "test"}, compress.key, trial.label)
        timed = seed == self.config.seeds[0] or self.config.measure.all_seeds
        measure = [
            self._measure(batch_size, threads, compress.key, trial.label)
            for batch_size in self.config.measure.batch_sizes
            for threads in self.config.measure.threads
            if timed
        ]
        return TrialRecord(
            **{
                **vars(trial),
                "compress": compress.key,
                "evaluate": evaluate.key,
                "measure": tuple(stage.key for stage in measure),
            }
        )

    def _ancestors(self, stage: Stage) -> tuple[str, ...]:
        parents = []
        while stage.parent:
            parents.append(stage.parent)
            stage = self.stages[stage.parent]
        return tuple(reversed(parents))

    def _measure(self, batch_size: int, threads: int, parent: str, label: str) -> Stage:
        settings = {
            "batch_size": batch_size,
            "threads": threads,
            "protocol": "loop",
            "seconds": self.config.measure.seconds,
            "machine": dict(self.facts.machine),
        }
        return self._add(
            "measure", settings, parent, f"{label} · batch {batch_size} · {threads} thread{'s' * (threads > 1)}"
        )
