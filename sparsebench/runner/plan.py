"""From a config to the stages of a run, each with a key that says all it depends on. Pure: nothing is read or run.

What the plan must know of the world outside the config (data fingerprints, digests of the user's own source files,
what each backend offers, the machine) is handed in as ``Facts``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sparsebench.config import BackendConfig, DataConfig, ModelConfig, PrunerConfig, SweepConfig
from sparsebench.store.records import SCHEMA_VERSION, StageKind, TrialRecord, pruning_in_short

EAGER, FP32 = "eager", "fp32"

PROTOCOL = "paired"
"""How latency is measured; part of the keys of ``measure``."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a plan depends on beside its config.

    Attributes:
        data: fingerprint of each dataset, by its name in the config.
        sources: digest of the user's own modules, by reference (``package.module:callable``).
        weights: SHA-256 of each checkpoint file, by its path.
        not_offered: why a backend does not offer a scheme, by (label of the backend, scheme); offered pairs
            are absent.
        thresholds: the only thresholds that a pruner can reach, by its label; absent where it reaches any.
        calibrating: the schemes that read calibration batches.
        training: the schemes that train the network further.
        machine: the identity of the machine; it joins the keys of ``measure`` alone.
        runtimes: versions of what runs the networks of a backend, beside torch, by the backend's label; they join the
            keys of its ``measure`` alone, so that another version is timed anew.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    not_offered: Mapping[tuple[str, str], str] = field(default_factory=dict)
    thresholds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    calibrating: frozenset[str] = frozenset({"static", "both"})
    training: frozenset[str] = frozenset({"qat"})
    machine: Mapping[str, str] = field(default_factory=dict)
    runtimes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One unit of work. Two stages with the same key have the same result (timing aside) and are run once.

    ``measure`` stages of equal settings are timed together; ``baselines`` are the keys of the compress stages whose
    networks they are compared with.
    """

    kind: StageKind
    key: str
    parent: str | None
    settings: Mapping[str, Any]
    label: str

    @property
    def baselines(self) -> tuple[str, ...]:
        """Keys of the compress stages that this one needs beside its parent."""
        named = (self.settings.get(name) for name in ("baseline", "eager_baseline"))
        return tuple(dict.fromkeys(network["compress"] for network in named if network))

    @property
    def session(self) -> str:
        """What stages that are timed together have in common."""
        return json.dumps(self.settings, sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages in an order in which each comes after its parent and its baselines, and the trials made of them."""

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
            of_seed: dict[tuple[Any, ...], TrialRecord] = {}
            for model in self.config.model:
                for data in self.config.data:
                    for pruner in self.config.pruners:
                        for trial in self._line(model, data, pruner, seed):
                            of = (trial.model, trial.data, trial.train, trial.seed)
                            point = (*of, trial.scheme, trial.backend, trial.calibration_batches)
                            of_seed.setdefault(point, trial)
            trials |= self._timed(of_seed, seed)
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
                    self._trial(model, data, pruner, threshold, seed, scheme, backend, train, batches)
                    for scheme in self.config.schemes
                    for batches in self._calibrations(scheme, backend)
                ]
        return trials

    def _calibrations(self, scheme: str, backend: BackendConfig) -> tuple[int | None, ...]:
        """Return the numbers of calibration batches of a scheme, largest first: it then bears the cost of recording.

        Of a scheme that does not calibrate, or is not offered, there is one trial.
        """
        if scheme not in self.facts.calibrating or (backend.label, scheme) in self.facts.not_offered:
            return (None,)
        return self.config.quantize.calibration_batches[::-1]

    def _thresholds(self, pruner: PrunerConfig) -> tuple[float, ...]:
        """Return the thresholds of one pruner: its own, the sweep's, or the control and those it can reach."""
        reached = self.facts.thresholds.get(pruner.label)
        if pruner.thresholds is not None or reached is None:
            return pruner.thresholds or self.config.thresholds
        return (*(threshold for threshold in self.config.thresholds if threshold == 0), *sorted(reached))

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
            pretrained = self._dense(model, data, seed)
            if dense and train.dense_control == "as_trained":
                return pretrained
            parent = pretrained.key
        elif model.weights is not None and parent is None:
            # Nothing comes before the first threshold but the checkpoint, which is the dense network itself.
            pretrained = self._dense(model, data, seed)
            if dense:
                return pretrained
            parent = pretrained.key
        how = pruning_in_short(pruner.label, threshold)
        return self._train_stage(model, data, None if dense else pruner, threshold, seed, parent, how)

    def _dense(self, model: ModelConfig, data: DataConfig, seed: int) -> Stage:
        """Return the stage that brings forth the dense network: it trains one, or loads the checkpoint."""
        checkpoint = next(iter(model.weights_of([seed])), None)
        if checkpoint is None:
            own = self.config.train.of_dense if self.config.train.start_from == "dense" else {}
            return self._train_stage(model, data, None, 0.0, seed, None, "dense, from scratch", own=own)
        weights = {
            "source": checkpoint,
            "sha256": self.facts.weights.get(checkpoint),
            "new_head": model.new_head,
            "strict": model.strict,
        }
        return self._train_stage(model, data, None, 0.0, seed, None, "dense, from a checkpoint", weights)

    def _train_stage(
        self,
        model: ModelConfig,
        data: DataConfig,
        pruner: PrunerConfig | None,
        threshold: float,
        seed: int,
        parent: str | None,
        how: str,
        weights: Mapping[str, Any] | None = None,
        own: Mapping[str, Any] | None = None,
    ) -> Stage:
        train, facts = self.config.train, self.facts
        settings: dict[str, Any] = {
            "model": {"name": model.name, "options": model.options, "source": facts.sources.get(model.name)},
            "data": {
                **data.model_dump(mode="json"),
                "fingerprint": facts.data.get(data.name),
                "source": facts.sources.get(data.name),
                "collate_source": facts.sources.get(data.collate or ""),
            },
            # Where training runs is no part of what is trained, so that a run may go on on another machine.
            # Nor is a teacher of a network that has none, because nothing was trained before it.
            "train": train.what_matters | ({} if parent else {"distill": None}) | dict(own or {}),
            "trainer_source": facts.sources.get(train.trainer),
            "prune": self.config.prune.model_dump(mode="json") if pruner else None,
            "pruner": pruner.what_matters if pruner else None,
            "threshold": threshold,
            "seed": seed,
        }
        if weights:
            settings["weights"] = weights
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
        batches: int | None,
    ) -> TrialRecord:
        trial = TrialRecord(
            model=model.name,
            data=data.name,
            pruner=pruner.label if threshold else None,
            threshold=threshold,
            seed=seed,
            scheme=scheme,
            backend=backend.label,
            calibration_batches=batches,
            train=train.key,
            ancestors=self._ancestors(train),
            not_offered=self.facts.not_offered.get((backend.label, scheme)),
        )
        if trial.not_offered:
            return trial
        several = batches and len(self.config.quantize.calibration_batches) > 1
        label = f"{trial.label} · {batches} calibration batches" if several else trial.label
        compress = self._compress(train.key, scheme, backend, label, batches)
        evaluate = self._add("evaluate", {"split": "test"}, compress.key, label)
        return replace(trial, compress=compress.key, evaluate=evaluate.key)

    def _ancestors(self, stage: Stage) -> tuple[str, ...]:
        parents = []
        while stage.parent:
            parents.append(stage.parent)
            stage = self.stages[stage.parent]
        return tuple(reversed(parents))

    def _compress(
        self, train: str, scheme: str, backend: BackendConfig, label: str, batches: int | None = None
    ) -> Stage:
        quantize = {**self.config.quantize.model_dump(mode="json"), "calibration_batches": batches} if batches else None
        settings = {"scheme": scheme, "backend": backend.model_dump(mode="json"), "quantize": quantize}
        if scheme in self.facts.training:
            settings["qat"] = self.config.qat.model_dump(mode="json")
        return self._add("compress", settings, train, label)

    # -- timing: once all networks of a seed are planned, their baselines are known ----------------------------------

    def _timed(self, trials: Mapping[tuple[Any, ...], TrialRecord], seed: int) -> dict[tuple[Any, ...], TrialRecord]:
        """Return the trials of one seed with the stages that time them, where the networks of that seed are timed."""
        measure = self.config.measure
        if not measure.batch_sizes or not (seed == self.config.seeds[0] or measure.all_seeds):
            return dict(trials)
        together: dict[tuple[str, str], list[TrialRecord]] = {}
        for trial in trials.values():
            if trial.compress:
                together.setdefault((trial.model, trial.data), []).append(trial)
        baselines = {
            (*networks, backend): self._baseline(found, backend)
            for networks, found in together.items()
            for backend in dict.fromkeys((*(trial.backend for trial in found), EAGER))
        }
        timed = {}
        for point, trial in trials.items():
            keys = tuple(
                self._measure(batch_size, threads, trial, baselines).key
                for batch_size in measure.batch_sizes
                for threads in measure.threads
                if trial.compress and self._is_timed(trial)
            )
            timed[point] = replace(trial, measure=keys)
        return timed

    def _is_timed(self, trial: TrialRecord) -> bool:
        """Whether a trial is timed: what calibration learns are numbers, with which a network is as fast as others."""
        return trial.calibration_batches in (None, self.config.quantize.calibration_batches[-1])

    def _baseline(self, trials: Sequence[TrialRecord], backend: str) -> dict[str, str] | None:
        """Return the network that others of one model, dataset, seed and backend are compared with, by name and key.

        It is the dense fp32 network, also where the sweep has no such trial but trains a dense network anyway. Without
        one it is the least sparse trial in fp32, or else in the first scheme that there is.
        """
        dense = self._dense_key(trials)
        offered = self.facts.not_offered.get((backend, FP32)) is None
        if dense and offered:
            first = trials[0]
            label = f"{first.model} · {first.data} · dense · {FP32} · {backend} · seed {first.seed}"
            found = next((b for b in self.config.backends if b.label == backend), BackendConfig(name=EAGER))
            return {"network": f"dense · {FP32} · {backend}", "compress": self._compress(dense, FP32, found, label).key}
        here = [trial for trial in trials if trial.backend == backend]
        if not here:
            return None
        rank = {scheme: place for place, scheme in enumerate(dict.fromkeys((FP32, *self.config.schemes)))}
        least = min(here, key=lambda trial: (rank[trial.scheme], trial.threshold))
        return {"network": f"{least.pruning} · {least.scheme} · {backend}", "compress": str(least.compress)}

    def _dense_key(self, trials: Sequence[TrialRecord]) -> str | None:
        """Return the key of the stage that trains the dense network: the control, or what sparse ones start from."""
        control = next((trial.train for trial in trials if trial.threshold == 0), None)
        if control or self.config.train.start_from != "dense":
            return control
        return next((trial.ancestors[0] for trial in trials if trial.ancestors), None)

    def _measure(
        self,
        batch_size: int,
        threads: int,
        trial: TrialRecord,
        baselines: Mapping[tuple[str, str, str], dict[str, str] | None],
    ) -> Stage:
        measure = self.config.measure
        settings = {
            "protocol": PROTOCOL,
            "batch_size": batch_size,
            "threads": threads,
            "baseline": baselines[trial.model, trial.data, trial.backend],
            "eager_baseline": baselines[trial.model, trial.data, EAGER],
            **measure.model_dump(mode="json", exclude={"batch_sizes", "threads", "all_seeds", "hang_seconds"}),
            "machine": {**self.facts.machine, **self.facts.runtimes.get(trial.backend, {})},
        }
        label = f"{trial.label} · batch {batch_size} · {threads} thread{'s' * (threads > 1)}"
        return self._add("measure", settings, trial.compress, label)
