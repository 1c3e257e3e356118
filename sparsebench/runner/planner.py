"""From a config to the stages of a run, each with a key that says all it depends on. Pure: nothing is read or run.

What the plan must know of the world outside the config is handed in as ``Facts``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Any

from sparsebench.config import BackendConfig, DataConfig, ModelConfig, PrunerConfig, SweepConfig
from sparsebench.runner.facts import EAGER, FP32, Facts
from sparsebench.runner.plan import Plan, Stage
from sparsebench.store.records import StageKind, TrialRecord, pruning_in_short
from sparsebench.store.written import stage_key

PROTOCOL = "processes"
"""How latency is measured; part of the keys of ``measure``."""


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


@dataclass(frozen=True)
class _Site:
    """What all networks of a line, over thresholds, have in common."""

    model: ModelConfig
    data: DataConfig
    seed: int


class _Planner:
    """Collects stages by key, so that a stage shared by several trials is planned once."""

    def __init__(self, config: SweepConfig, facts: Facts) -> None:
        self.config, self.facts = config, facts
        self.stages: dict[str, Stage] = {}

    def plan(self) -> Plan:
        config = self.config
        trials: dict[tuple[Any, ...], TrialRecord] = {}
        for seed in config.seeds:
            of_seed: dict[tuple[Any, ...], TrialRecord] = {}
            for model, data, pruner in product(config.model, config.data, config.pruners):
                for trial in self._line(_Site(model, data, seed), pruner):
                    of = (trial.model, trial.data, trial.train, trial.seed)
                    of_seed.setdefault((*of, trial.scheme, trial.backend, trial.calibration_batches), trial)
            trials |= self._timed(of_seed, seed)
        return Plan(stages=tuple(self.stages.values()), trials=tuple(trials.values()))

    def plan_sensitivity(self) -> Plan:
        config, pruner = self.config, PrunerConfig(name="magnitude")
        thresholds = [threshold for threshold in config.thresholds if threshold]
        for seed, model, data in product(config.seeds, config.model, config.data):
            train = self._train(_Site(model, data, seed), pruner, 0.0, None)
            settings = {"thresholds": thresholds, "model": model.name, "data": data.name, "seed": seed}
            self._add("sensitivity", settings | config.metric.what_matters, train.key, train.label)
        return Plan(stages=tuple(self.stages.values()), trials=())

    def _line(self, site: _Site, pruner: PrunerConfig) -> list[TrialRecord]:
        trials = []
        previous: str | None = None
        for threshold in self._thresholds(pruner):
            train = self._train(site, pruner, threshold, previous)
            previous = train.key
            trials += [
                self._trial(train, pruner, scheme, backend, batches)
                for backend, scheme in product(self.config.backends, self.config.schemes)
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

    def _train(self, site: _Site, pruner: PrunerConfig, threshold: float, previous: str | None) -> Stage:
        """Return the stage that trains one network, planning first what it starts from."""
        train, dense = self.config.train, threshold == 0
        parent = previous if train.start_from == "previous" else None
        # Nothing comes before the first threshold but the checkpoint, which is the dense network itself.
        first = train.start_from == "previous" and site.model.weights is not None and previous is None
        if first or train.start_from == "dense":
            pretrained = self._dense(site)
            # Where nothing is trained there is nothing to continue.
            if dense and (first or train.dense_control == "as_trained" or not train.epochs):
                return pretrained
            parent = pretrained.key
        how = pruning_in_short(pruner.label, threshold)
        return self._train_stage(site, None if dense else pruner, threshold, parent, how)

    def _dense(self, site: _Site) -> Stage:
        """Return the stage that brings forth the dense network: it trains one, or loads the checkpoint."""
        model = site.model
        checkpoint = next(iter(model.weights_of([site.seed])), None)
        if checkpoint is None:
            own = self.config.train.of_dense if self.config.train.start_from == "dense" else {}
            return self._train_stage(site, None, 0.0, None, "dense, from scratch", own=own)
        weights = {
            "source": checkpoint,
            "sha256": self.facts.weights.get(checkpoint, self.facts.weights.get(model.name)),
            "new_head": model.new_head,
            "strict": model.strict,
        }
        return self._train_stage(site, None, 0.0, None, "dense, from a checkpoint", weights)

    def _train_stage(
        self,
        site: _Site,
        pruner: PrunerConfig | None,
        threshold: float,
        parent: str | None,
        how: str,
        weights: Mapping[str, Any] | None = None,
        own: Mapping[str, Any] = MappingProxyType({}),
    ) -> Stage:
        train, sources = self.config.train, self.facts.sources
        model, data, seed = site.model, site.data, site.seed
        settings: dict[str, Any] = {
            "model": {"name": model.name, "options": model.options, "source": sources.get(model.name)},
            "data": {
                **data.model_dump(mode="json"),
                "fingerprint": self.facts.data.get(data.name),
                "source": sources.get(data.name),
                "collate_source": sources.get(data.collate.name if data.collate else ""),
            },
            # Where training runs is no part of what is trained, so that a run may go on on another machine.
            # Nor is a teacher of a network that has none, because nothing was trained before it.
            "train": {**train.what_matters, **({} if parent else {"distill": None}), **own},
            "trainer_source": sources.get(train.trainer),
            "prune": self.config.prune.model_dump(mode="json") if pruner else None,
            "pruner": pruner.what_matters if pruner else None,
            "threshold": threshold,
            "seed": seed,
            **({"weights": weights} if weights else {}),
            **self._metric(),
        }
        return self._add("train", settings, parent, f"{model.name} · {data.name} · {how} · seed {seed}")

    def _metric(self) -> dict[str, Any]:
        """Return the metric, by which epochs are chosen, and the code of what is a user's own; nothing of accuracy."""
        found, sources = self.config.metric, self.facts.sources
        own: dict[str, Any] = {"metric": found.chooses} if found.what_matters else {}
        for key, name in (("metric_source", found.name), ("criterion_source", self.config.train.criterion or "")):
            own |= {key: sources[name]} if name in sources else {}
        return own

    def _trial(
        self, train: Stage, pruner: PrunerConfig, scheme: str, backend: BackendConfig, batches: int | None
    ) -> TrialRecord:
        settings = train.settings
        trial = TrialRecord(
            model=settings["model"]["name"],
            data=settings["data"]["name"],
            pruner=pruner.label if settings["threshold"] else None,
            threshold=settings["threshold"],
            seed=settings["seed"],
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
        judged = self.config.metric.what_matters
        validate = self._add("evaluate", {"split": "val", **judged}, compress, f"{label} · validation")
        evaluate = self._add("evaluate", {"split": "test", **judged}, compress, label)
        return replace(trial, compress=compress, validate=validate.key, evaluate=evaluate.key)

    def _ancestors(self, stage: Stage) -> tuple[str, ...]:
        return (*self._ancestors(self.stages[stage.parent]), stage.parent) if stage.parent else ()

    def _compress(self, train: str, scheme: str, backend: BackendConfig, label: str, batches: int | None = None) -> str:
        quantize = {**self.config.quantize.model_dump(mode="json"), "calibration_batches": batches} if batches else None
        settings = {"scheme": scheme, "backend": backend.model_dump(mode="json"), "quantize": quantize}
        if scheme in self.facts.training:
            settings["qat"] = self.config.qat.model_dump(mode="json")
        return self._add("compress", settings, train, label).key

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
        # What calibration learns are numbers, with which a network is as fast as with others.
        one_of_each = (None, self.config.quantize.calibration_batches[-1])
        timed = {}
        for point, trial in trials.items():
            keys = tuple(
                self._measure(batch_size, threads, trial, baselines)
                for batch_size, threads in product(measure.batch_sizes, measure.threads)
                if trial.compress and trial.calibration_batches in one_of_each
            )
            timed[point] = replace(trial, measure=keys)
        return timed

    def _baseline(self, trials: Sequence[TrialRecord], backend: str) -> dict[str, str] | None:
        """Return the network that others of one model, dataset, seed and backend are compared with, by name and key.

        It is the dense fp32 network, also where the sweep has no such trial but trains a dense network anyway. Without
        one it is the least sparse trial in fp32, or else in the first scheme that there is.
        """
        dense = self._dense_key(trials)
        if dense and self.facts.not_offered.get((backend, FP32)) is None:
            first = trials[0]
            label = f"{first.model} · {first.data} · dense · {FP32} · {backend} · seed {first.seed}"
            found = next((b for b in self.config.backends if b.label == backend), BackendConfig(name=EAGER))
            return {"network": f"dense · {FP32} · {backend}", "compress": self._compress(dense, FP32, found, label)}
        here = [trial for trial in trials if trial.backend == backend]
        if not here:
            return None
        schemes = list(dict.fromkeys((FP32, *self.config.schemes)))
        least = min(here, key=lambda trial: (schemes.index(trial.scheme), trial.threshold))
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
    ) -> str:
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
        return self._add("measure", settings, trial.compress, label).key
