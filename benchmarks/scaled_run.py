"""A run of thousands of trials on the disk, as it would be after weeks: planned for real, its results multiplied.

A tiny sweep is run; every record of the large one is a copy of one of its records, under the key that the plan gives
it, with sparsity, sizes, accuracy, correctness of each sample and latency of its own.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparsebench import load_config, run_sweep
from sparsebench.config import SweepConfig
from sparsebench.runner.plan import Plan, Stage
from sparsebench.runner.sequencer import plan_sweep
from sparsebench.statistics.accuracy import wilson_interval
from sparsebench.store.directory import RESULT, Store
from sparsebench.store.environment import describe_environment
from sparsebench.store.records import RunRecord, StageRecord, TrialResult
from sparsebench.store.results import CompressResult, EvaluateResult, TrainResult, pack_bits
from sparsebench.store.sealing import sealed, stage_adapter
from sparsebench.store.timings import MeasureResult
from sparsebench.store.written import digest_of

SCHEMES = ("fp32", "dynamic", "static", "both")
PRUNERS = ("magnitude", "layer_magnitude", "random", "structured")

TINY = (
    "name=tiny",
    "seeds=0",
    "thresholds=0,0.5",
    f"schemes={','.join(SCHEMES)}",
    "train.epochs=2",
    "measure.workers=false",
    "measure.seconds_cap=0.01",
    "measure.block_ms=1",
)


def axes(seeds: int, thresholds: int) -> list[str]:
    """Return the overrides of ``(1 + 4 × thresholds) × 4 × seeds`` trials: 10,000 for 20 seeds and 31 thresholds."""
    return [
        "name=scaled",
        f"seeds={','.join(map(str, range(seeds)))}",
        f"thresholds=0,{','.join(str(round(0.97 * (n + 1) / thresholds, 4)) for n in range(thresholds))}",
        f"schemes={','.join(SCHEMES)}",
        f"pruners={','.join(PRUNERS)}",
        "train.epochs=2",
    ]


def write_scaled_run(config: SweepConfig, folder: Path, seed: int = 0, tiny: Sequence[str] = ()) -> tuple[Plan, int]:
    """Write a finished run of ``config`` below ``folder``; return its plan and how many records it has.

    ``tiny`` are overrides of the sweep whose records are multiplied.
    """
    templates = _Templates(run_sweep(load_config(None, [*TINY, *tiny]), runs_dir=folder).trials, seed)
    plan = plan_sweep(config)
    store = Store(folder / config.name)
    adapter = stage_adapter()
    for stage in plan.stages:
        place = store.directory(stage.kind, stage.key)
        place.mkdir(parents=True, exist_ok=True)
        # Without the care of the store, which would take minutes and is measured by itself.
        (place / RESULT).write_bytes(sealed(adapter.dump_json(templates.record(stage), indent=1)))
    store.write_run(
        RunRecord(
            name=config.name,
            config=config.model_dump(mode="json"),
            command="sparsebench run scaled.toml",
            sparsebench="scaled",
            trials=plan.trials,
            environment=describe_environment(),
        )
    )
    return plan, len(plan.stages)


@dataclass
class _Network:
    """What the records of one trained network have in common."""

    threshold: float
    seed: int
    top1: float


class _Templates:
    """Makes records of stages, parents before children."""

    def __init__(self, trials: Sequence[TrialResult], seed: int) -> None:
        self._by_scheme: Mapping[tuple[str, bool], TrialResult] = {
            (trial.trial.scheme, trial.trial.threshold > 0): trial for trial in trials
        }
        self._dice = random.Random(seed)  # noqa: S311 - dice, no secrets
        self._networks: dict[str, _Network] = {}
        self._schemes: dict[str, str] = {}
        self._digests: dict[str, str | None] = {}

    def record(self, stage: Stage) -> StageRecord:
        """Return the record of a stage."""
        if stage.kind == "train":
            threshold, seed = stage.settings["threshold"], stage.settings["seed"]
            top1 = 0.97 - max(0.0, threshold - 0.6) ** 2 + self._dice.gauss(0, 0.004)
            self._networks[stage.key] = _Network(threshold, seed, min(1.0, top1))
        else:
            self._networks[stage.key] = self._networks[str(stage.parent)]
            self._schemes[stage.key] = stage.settings.get("scheme") or self._schemes[str(stage.parent)]
        network, scheme = self._networks[stage.key], self._schemes.get(stage.key, "fp32")
        trial = self._by_scheme[scheme, network.threshold > 0]
        template: Any = trial.measure[0] if stage.kind == "measure" else getattr(trial, stage.kind)
        make = {
            "train": self._trained,
            "compress": self._compressed,
            "evaluate": self._evaluated,
            "measure": self._measured,
        }[stage.kind]
        self._digests[stage.key] = digest_of(template)
        return replace(
            template,
            built_on=self._digests.get(str(stage.parent)),
            key=stage.key,
            parent=stage.parent,
            settings=stage.settings,
            seconds=template.seconds * self._dice.uniform(0.8, 1.2),
            seed=network.seed,
            result=make(template.result, network, stage),
        )

    def _trained(self, result: TrainResult, network: _Network, stage: Stage) -> TrainResult:
        kept = 1 - network.threshold
        layers = tuple(
            replace(
                layer,
                zeros=round(network.threshold * layer.weights),
                effective_macs=round(kept * layer.macs),
            )
            if layer.prunable
            else layer
            for layer in result.layers
        )
        pruner = stage.settings["pruner"]
        return replace(
            result,
            pruned_by=pruner["name"] if pruner else "none",
            asked_sparsity=network.threshold,
            prunable_zeros=round(network.threshold * result.prunable_weights),
            parameter_zeros=sum(layer.zeros for layer in layers),
            layers=layers,
            effective_macs=sum(layer.effective_macs for layer in layers),
        )

    def _compressed(self, result: CompressResult, network: _Network, stage: Stage) -> CompressResult:
        kept = 1 - network.threshold
        layers = tuple(replace(layer, zeros=round(network.threshold * layer.weights)) for layer in result.layers)
        size = replace(
            result.size,
            deflated_file_bytes=1000 + round(kept * result.size.file_bytes * self._dice.uniform(0.9, 1)),
            nonzero_parameters=round(kept * result.size.nonzero_parameters),
            flash_bytes=round(kept * result.size.payload_bytes),
        )
        return replace(result, layers=layers, size=size)

    def _evaluated(self, result: EvaluateResult, network: _Network, stage: Stage) -> EvaluateResult:
        right = [self._dice.random() < network.top1 for _ in range(result.samples)]
        low, high = wilson_interval(sum(right), result.samples)
        return replace(
            result,
            split=stage.settings["split"],
            top1=sum(right) / result.samples,
            top1_low=low,
            top1_high=high,
            correct_bits=pack_bits(right),
        )

    def _measured(self, result: MeasureResult, network: _Network, stage: Stage) -> MeasureResult:
        compress = stage.settings["baseline"]["compress"]
        ratio = 1.0 if compress == stage.parent else self._dice.uniform(0.4, 1.1)
        against = replace(
            result.against, compress=compress, speedup=1 / ratio, low=0.99 / ratio, high=1.01 / ratio, p_value=1e-6
        )
        ms = 0.2 * ratio
        eager = replace(against, compress=stage.settings["eager_baseline"]["compress"])
        asked = {name: stage.settings[name] for name in ("batch_size", "threads")}
        return replace(result, median_ms=ms, latency_ms=ms, against=against, against_eager=eager, **asked)
