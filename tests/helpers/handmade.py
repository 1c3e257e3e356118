"""Records written by hand, so that a report can be tested without training anything."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from keyed import with_keys

from sparsebench.statistics.verdicts import Validity
from sparsebench.store.directory import Store
from sparsebench.store.environment import EnvironmentRecord
from sparsebench.store.records import Failure, Run, RunRecord, StageKind, StageRecord, TrialRecord, TrialResult
from sparsebench.store.results import (
    CompressResult,
    EvaluateResult,
    LayerAudit,
    LayerSparsity,
    Result,
    SizeResult,
    TrainResult,
    pack_bits,
)
from sparsebench.store.timings import ControlResult, MeasureResult, SessionResult, SpeedupResult
from sparsebench.store.written import stage_key

ENVIRONMENT = EnvironmentRecord(
    cpu="Example CPU 9000",
    cpu_flags=("avx2", "avx512_vnni", "avx512f", "fpu"),
    logical_cores=2,
    memory_bytes=8_000_000_000,
    gpu=None,
    os="Linux 6.1",
    python="3.11.4",
    versions={"torch": "2.15.0", "numpy": "2.4.6"},
    threads=2,
    commit="0123456789abcdef",
)

LAYERS = (("conv1", "Conv2d", 144), ("conv2", "Conv2d", 4608), ("fc", "Linear", 640))
"""Name, kind and weights; the last is the classifier, which stays dense."""

INT8 = {"fp32": (), "dynamic": ("Linear",), "static": ("Conv2d",), "both": ("Conv2d", "Linear")}
CALIBRATING = ("static", "both")
LATENCY_MS = {"fp32": 2.0, "dynamic": 1.8, "static": 0.8, "both": 0.8}
LOST_BY_QUANTIZATION = {"fp32": 0, "dynamic": 1, "static": 2, "both": 3}
SAMPLES = 400

ATTENTION = 1000
"""MACs that belong to no weight."""

Cell = tuple[float, int, str, str]
"""Threshold, seed, scheme, backend."""


def lost_by_pruning(threshold: float) -> int:
    """Test samples that pruning to ``threshold`` costs: none up to 0.5, 10 at 0.9, 23 at 0.95."""
    return round(max(0.0, threshold - 0.5) ** 2 * 62.5) + (10 if threshold >= 0.95 else 0)


def positions(kind: str) -> int:
    """How often a layer uses each of its weights: a convolution at each place of 8 × 8."""
    return 64 if kind.startswith("Conv") else 1


@dataclass
class Bench:
    """A run to be built; every field is an axis or a fault of it."""

    thresholds: Sequence[float] = (0.0, 0.5, 0.8, 0.9, 0.95)
    schemes: Sequence[str] = ("fp32", "dynamic", "static", "both")
    seeds: Sequence[int] = (0, 1, 2)
    backends: Sequence[str] = ("eager",)
    pruners: Sequence[str] = ("magnitude",)
    pairs: Sequence[tuple[str, str]] = (("small_cnn", "digits"),)
    settings: Sequence[tuple[int, int]] = ((1, 1),)
    calibrations: Sequence[int] = (2000,)
    train_batches: int = 15
    layers: Sequence[tuple[str, str, int]] = LAYERS
    classes: int = 10
    samples: int = SAMPLES
    validated: bool = True
    dense_accuracy: float = 0.95
    paired: bool = True
    counted: bool = True
    time_all_seeds: bool = True
    failed: Mapping[Cell, Failure] = field(default_factory=dict)
    not_offered: Mapping[tuple[str, str], str] = field(default_factory=dict)
    pending: Iterable[Cell] = ()
    collapsed: Mapping[str, float] = field(default_factory=dict)
    warnings: Mapping[float, tuple[str, ...]] = field(default_factory=dict)
    reached: Mapping[float, float] = field(default_factory=dict)
    name: str = "handmade"
    command: str = "sparsebench run handmade.toml"
    config: Mapping[str, Any] = field(default_factory=lambda: {"name": "handmade", "train": {"epochs": 10}})

    def build(self) -> Run:
        """Return the run."""
        trials = [
            self._trial(model, data, pruner if threshold else None, threshold, seed, scheme, backend, batches)
            for model, data in self.pairs
            for position, pruner in enumerate(self.pruners)
            for threshold in self.thresholds
            if threshold or position == 0
            for scheme in self.schemes
            for backend in self.backends
            for batches in (self.calibrations if scheme in CALIBRATING else (None,))
            for seed in self.seeds
        ]
        record = RunRecord(
            name=self.name,
            config=self.config,
            command=self.command,
            sparsebench="0.1.0",
            trials=tuple(trial.trial for trial in trials),
            environment=ENVIRONMENT,
        )
        return Run(record=record, trials=tuple(trials))

    def _trial(
        self,
        model: str,
        data: str,
        pruner: str | None,
        threshold: float,
        seed: int,
        scheme: str,
        backend: str,
        batches: int | None,
    ) -> TrialResult:
        network = f"{model}-{data}-{pruner}-{threshold}-{seed}"
        key = f"{network}-{scheme}-{backend}" + (f"-{batches}" if len(self.calibrations) > 1 else "")
        record = TrialRecord(
            model=model,
            data=data,
            pruner=pruner,
            threshold=threshold,
            seed=seed,
            scheme=scheme,
            backend=backend,
            calibration_batches=batches,
            train=f"train-{network}",
        )
        reason = self.not_offered.get((scheme, backend))
        if reason:
            return TrialResult(trial=replace(record, not_offered=reason))
        timed = self.settings if self.time_all_seeds or seed == self.seeds[0] else ()
        timed = () if batches and batches < max(self.calibrations) else timed
        record = replace(
            record,
            compress=f"compress-{key}",
            validate=f"validate-{key}" if self.validated else None,
            evaluate=f"evaluate-{key}",
            measure=tuple(f"measure-{key}-{batch}-{threads}" for batch, threads in timed),
        )
        cell = (threshold, seed, scheme, backend)
        warnings = self.warnings.get(threshold, ())
        train = stage("train", record.train, self._trained(pruner, threshold), warnings=warnings)
        if cell in self.pending:
            return TrialResult(trial=record, train=train)
        if cell in self.failed:
            compress = stage("compress", f"compress-{key}", None, failure=self.failed[cell])
            return TrialResult(trial=record, train=train, compress=compress)
        scored = self._evaluated(threshold, seed, scheme, batches)
        return TrialResult(
            trial=record,
            train=train,
            compress=stage("compress", f"compress-{key}", self._compressed(threshold, scheme, batches)),
            validate=stage("evaluate", f"validate-{key}", replace(scored, split="val")) if self.validated else None,
            evaluate=stage("evaluate", f"evaluate-{key}", scored),
            measure=tuple(
                stage(
                    "measure",
                    name,
                    measured(
                        *(scheme, backend, seed, batch, threads),
                        baseline=f"compress-{model}-{data}-None-0.0-{seed}-fp32-{backend}",
                        eager=f"compress-{model}-{data}-None-0.0-{seed}-fp32-eager",
                        network=f"{model}-{data}",
                    ),
                )
                for name, (batch, threads) in zip(record.measure, timed, strict=True)
            ),
        )

    def _zeros(self, name: str, weights: int, threshold: float, prunable: bool) -> int:
        if name in self.collapsed and threshold >= self.collapsed[name]:
            return weights
        return round(self.reached.get(threshold, threshold) * weights) if prunable else 0

    def _trained(self, pruner: str | None, threshold: float) -> TrainResult:
        layers = tuple(
            LayerSparsity(
                name=name,
                kind=kind,
                weights=weights,
                zeros=self._zeros(name, weights, threshold, index < len(self.layers) - 1),
                prunable=index < len(self.layers) - 1,
                macs=positions(kind) * weights if self.counted else 0,
            )
            for index, (name, kind, weights) in enumerate(self.layers)
        )
        if self.counted:
            layers = tuple(
                replace(layer, effective_macs=positions(layer.kind) * (layer.weights - layer.zeros)) for layer in layers
            )
        prunable = [layer for layer in layers if layer.prunable]
        weights = sum(layer.weights for layer in prunable)
        return TrainResult(
            trainer="Trainer",
            pruned_by=pruner or "none",
            train_samples=1000,
            val_samples=200,
            test_samples=self.samples,
            classes=self.classes,
            input_shape=(1, 8, 8),
            epochs=10,
            best_epoch=7,
            val_accuracy=0.96,
            history=(),
            asked_sparsity=threshold,
            prunable_weights=weights,
            prunable_zeros=round(self.reached.get(threshold, threshold) * weights),
            parameters=sum(layer.weights for layer in layers) + 58,
            parameter_zeros=sum(layer.zeros for layer in layers),
            layers=layers,
            samples_per_second=1000.0,
            macs=sum(layer.macs for layer in layers) + ATTENTION if self.counted else None,
            effective_macs=sum(layer.effective_macs for layer in layers) + ATTENTION if self.counted else None,
        )

    def _compressed(self, threshold: float, scheme: str, batches: int | None) -> CompressResult:
        audits = tuple(
            LayerAudit(
                name=name,
                kind=kind,
                weights=weights,
                zeros=round(threshold * weights) if index < len(self.layers) - 1 else 0,
                bits=8 if kind in INT8.get(scheme, ()) else 32,
                reason="" if kind in INT8.get(scheme, ()) else f"{scheme} leaves {kind} in fp32",
                computed_in="int8" if kind in INT8.get(scheme, ()) else "fp32",
            )
            for index, (name, kind, weights) in enumerate(self.layers)
        )
        payload = sum(audit.weights * audit.bits // 8 for audit in audits) + 58 * 4
        flash = sum((audit.weights - audit.zeros) * audit.bits // 8 for audit in audits) + 58 * 4
        nonzero = sum(audit.weights - audit.zeros for audit in audits) + 58
        size = SizeResult(
            payload_bytes=payload,
            file_bytes=payload + 2000,
            deflated_file_bytes=flash + 1000,
            nonzero_parameters=nonzero,
            flash_bytes=flash,
        )
        return CompressResult(
            calibration_batches=min(batches or 0, self.train_batches),
            calibration_seconds=0.5 if batches else 0.0,
            layers=audits,
            size=size,
            live_activation_bytes=4096 * min(audit.bits for audit in audits) // 8 if self.counted else None,
        )

    def _evaluated(self, threshold: float, seed: int, scheme: str, batches: int | None) -> EvaluateResult:
        lost = lost_by_pruning(threshold) + LOST_BY_QUANTIZATION.get(scheme, 0)
        if len(self.calibrations) > 1 and batches:
            lost += 40 // min(batches, self.train_batches)  # little calibration costs accuracy
        lost += 2 if threshold >= 0.95 and scheme == "static" else 0  # together they cost more than apart
        right = round(self.dense_accuracy * self.samples) + seed - lost
        top1 = right / self.samples
        return EvaluateResult(
            samples=self.samples,
            top1=top1,
            top1_low=max(0.0, top1 - 0.02),
            top1_high=min(1.0, top1 + 0.02),
            top5=min(1.0, top1 + 0.04) if self.classes >= 10 else None,
            correct_bits=pack_bits(index < right for index in range(self.samples)) if self.paired else None,
        )


def latency_ms(scheme: str, backend: str, seed: int, batch: int, threads: int) -> float:
    """Return a latency that depends on all that it is called with; other backends than eager take half the time."""
    return LATENCY_MS.get(scheme, 1.0) * (1.0 if backend == "eager" else 0.5) * batch / threads + 0.01 * seed


def control(low: float, high: float) -> ControlResult:
    """Return a copy of the baseline, whose speedup has these limits."""
    middle = (low * high) ** 0.5
    return ControlResult(name="copy", speedup=middle, low=low, high=high, by_process=(low, high))


INVALID = {"state": Validity.INVALID, "controls": (control(0.997, 1.002), control(1.02, 1.08))}
"""What makes a session one that cannot be trusted."""

NOISY = {"state": Validity.NOISY, "controls": (control(0.985, 1.004), control(0.999, 1.02)), "resolution": 0.035}
"""What makes a session one that finds coarse differences alone."""

SPREAD = (0.998, 0.999, 1.0, 1.0, 1.001, 1.002)
"""What six processes find of a speedup, each divided by their mean."""


def session(name: str, **changes: Any) -> SessionResult:
    """Return a session whose controls, copies of the baseline, took the same time; it found 1.5 % and more."""
    fields = {
        "id": name,
        "seed": 7,
        "networks": 20,
        "rounds": 24,
        "processes": 6,
        "seconds": 40.0,
        "stopped": "precise",
        "precision": 0.01,
        "band": 0.01,
        "controls": (control(0.997, 1.002), control(0.999, 1.004)),
        "state": Validity.VALID,
        "enough": True,
        "resolution": 0.015,
        "conditions": {"load_1min": 1.25, "steal_share": 0.01},
    }
    return SessionResult(**{**fields, **changes})


def speedup(median_ms: float, baseline_ms: float, backend: str, compress: str) -> SpeedupResult:
    """Return a speedup that is known to half a percent, and differs from 1 for sure where it differs at all."""
    value = baseline_ms / median_ms
    return SpeedupResult(
        baseline=f"dense · fp32 · {backend}",
        compress=compress,
        speedup=value,
        low=value / 1.005,
        high=value / 0.995,
        p_value=1.0 if value == 1 else 1e-6,
        by_process=tuple(value * factor for factor in SPREAD),
    )


def measured(
    scheme: str,
    backend: str,
    seed: int,
    batch: int,
    threads: int,
    baseline: str = "",
    eager: str = "",
    network: str = "",
) -> MeasureResult:
    """Return a latency beside the dense fp32 networks of the same backend and of eager, by their compress keys."""
    setting = (seed, batch, threads)
    median = latency_ms(scheme, backend, *setting)
    against = speedup(median, latency_ms("fp32", backend, *setting), backend, baseline)
    return MeasureResult(
        protocol="processes",
        batch_size=batch,
        threads=threads,
        calls=150,
        calls_together=1,
        latency_ms=latency_ms("fp32", backend, *setting) / against.speedup,
        median_ms=median,
        p95_ms=median * 1.25,
        p99_ms=median * 1.5,
        against=against,
        against_eager=speedup(median, latency_ms("fp32", "eager", *setting), "eager", eager),
        session=session(f"{network}-{backend}-{seed}-{batch}-{threads}"),
        places=(((3,), (0,)),) * 6,
        peak_memory_bytes=3_000_000,
        peak_memory_by_process=(2_900_000, 3_000_000, 3_000_000, 3_100_000),
    )


def stage(
    kind: StageKind, key: str, result: Result | None, warnings: tuple[str, ...] = (), failure: Failure | None = None
) -> StageRecord:
    """Return the record of one stage, done where it has a result."""
    return StageRecord(
        stage=kind,
        key=key,
        parent=None,
        settings={},
        status="failed" if failure else "done",
        attempt=1,
        started_at="2026-01-02T03:04:05+00:00",
        seconds={"train": 10.0, "compress": 1.0, "evaluate": 0.5, "measure": 0.25}[kind],
        environment=ENVIRONMENT,
        warnings=warnings,
        result=result,
        failure=failure,
    )


OUT_OF_MEMORY = Failure(error="RuntimeError", message="out of | memory", traceback="Traceback: …")


def with_faults() -> Run:
    """Return 5 thresholds × 4 schemes × 3 seeds on two backends: one failed, one not offered, a layer collapsed."""
    return Bench(
        backends=("eager", "onnxruntime"),
        failed={(0.9, 1, "static", "eager"): OUT_OF_MEMORY},
        not_offered={("both", "onnxruntime"): "onnxruntime does not offer both"},
        collapsed={"conv1": 0.95},
    ).build()


SCORED = EvaluateResult(samples=8, top1=0.75, top1_low=0.4, top1_high=0.9, top5=None, correct_bits=None)


def stage_record(**changes):
    """Return the record of an evaluation, or of what ``changes`` say; its key is its own unless they say another."""
    fields = {
        "stage": "evaluate",
        "parent": "cd" * 32,
        "settings": {"split": "test"},
        "status": "done",
        "attempt": 1,
        "started_at": "2026-01-01T00:00:00+00:00",
        "seconds": 0.5,
        "environment": ENVIRONMENT,
        "result": SCORED if changes.get("status", "done") == "done" else None,
        **changes,
    }
    key = stage_key(fields["stage"], fields["settings"], fields["parent"])
    return StageRecord(**{"key": key, **fields})


def stored(run: Run, root: Path) -> Path:
    """Write a run as ``sparsebench run`` leaves it, without artifacts, and return its directory."""
    store, run = Store(root), with_keys(run)
    for trial in run.trials:
        for record in (*trial.ancestors, *trial.stages):
            store.write(record)
    store.write_run(run.record)
    return root
