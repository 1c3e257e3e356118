"""Handmade runs whose figures are crowded: many backends, thresholds and pruners, and latencies that differ."""

import zlib
from dataclasses import replace

from handmade import Bench

from sparsebench.store.records import Run, TrialResult
from sparsebench.store.timings import MeasureResult, SpeedupResult

BACKENDS = ("eager", "inductor", "onnxruntime", "openvino", "tensorrt_fp8_experimental", "my_company.runtimes:Edge")
TWELVE = (0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975)


def crowded(backends: int, thresholds: int, **changes: object) -> Run:
    """Return a run of so many backends and thresholds whose latencies depend on backend, threshold and chance."""
    chosen = TWELVE if thresholds == len(TWELVE) else (0.0, 0.8)[:thresholds]
    run = Bench(**{"backends": BACKENDS[:backends], "thresholds": chosen, **changes}).build()
    return replace(run, trials=tuple(map(_slowed, run.trials)))


def _slowed(trial: TrialResult) -> TrialResult:
    t = trial.trial
    chance = zlib.crc32(t.label.encode()) / 2**32
    factor = (1 - 0.5 * t.threshold) * (0.9 + 0.2 * chance) * (1 + 0.4 * zlib.crc32(t.backend.encode()) / 2**32)
    if t.threshold == 0 and t.scheme == "fp32":
        return trial
    return replace(trial, measure=tuple(replace(r, result=_scaled(r.result, factor, chance)) for r in trial.measure))


def _scaled(measured: MeasureResult, factor: float, chance: float) -> MeasureResult:
    def wider(found: SpeedupResult) -> SpeedupResult:
        value = found.speedup / factor
        return replace(found, speedup=value, low=value / (1.01 + 0.08 * chance), high=value / (0.99 - 0.05 * chance))

    times = {name: getattr(measured, name) * factor for name in ("latency_ms", "median_ms", "p95_ms", "p99_ms")}
    return replace(measured, **times, against=wider(measured.against), against_eager=wider(measured.against_eager))
