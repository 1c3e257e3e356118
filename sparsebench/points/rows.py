"""Operating points as plain values, for programs."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sparsebench.points.baselines import SeedResult, zeros_row
from sparsebench.points.drops import Drop, Limits
from sparsebench.points.latency import Timing
from sparsebench.points.points import Point
from sparsebench.statistics.spread import Spread
from sparsebench.store.records import TrialResult
from sparsebench.store.scales import ACCURACY, Scale


def point_row(point: Point) -> dict[str, Any]:
    """Return an aggregated point as plain values, with units in the names."""
    return {
        **identity(point),
        "seeds": [seed.trial.trial.seed for seed in point.seeds],
        **_values(point, "planned"),
        **value_row(point),
        **_values(point, "top5", "balanced_accuracy", "worst_class_recall", "drop"),
        f"drop_std{point.scale.suffix}": point.drop_std,
        "drop_vs_eager": _plain(point.drop_eager),
        "drop_by_seed": [{"seed": s.trial.trial.seed, **_plain(s.drop)} for s in point.seeds if s.drop],
        f"interaction{point.scale.suffix}": interaction_row(point),
        **_values(point, "sparsity_asked", "sparsity"),
        **_values(point, "file_bytes", "deflated_file_bytes", "payload_bytes", "flash_bytes"),
        **_values(point, "file_ratio", "deflated_ratio", "compression_ratio", "int8_fraction", "int8_mac_fraction"),
        **zeros_row(point.zeros),
        **_values(point, "macs", "effective_macs", "theoretical_speedup", "working_memory_bytes"),
        "latency": [_latency(timing) for timing in point.timings],
    }


def _values(point: Point, *names: str) -> dict[str, Any]:
    return {name: _plain(getattr(point, name)) for name in names}


def value_row(point: Point) -> dict[str, Any]:
    """Return the metric of a point: ``top1``, or ``value`` with what it is of where it is another than accuracy."""
    if point.scale.is_accuracy:
        return {"top1": _plain(point.value)}
    return {"metric": asdict(point.scale), "value": _plain(point.value)}


def _plain(value: Any) -> Any:
    if isinstance(value, Drop):
        return value.row()
    return asdict(value) if isinstance(value, Spread) else value


def interaction_row(point: Point) -> dict[str, Any] | None:
    """Return the interaction with its spread over seeds and its two intervals."""
    found = point.interaction_drop
    return {**_plain(point.interaction), **_plain(found)} if found else None


def drop_columns(point: Point | None, seed: SeedResult | None, scale: Scale = ACCURACY) -> dict[str, Any]:
    """Return drops as columns of data.csv: that of a trial, then that of its operating point over all seeds.

    ``scale`` is that of the run's metric; it names the columns.
    """
    own, joined = seed.drop if seed else None, point.drop if point else None
    return {
        f"drop{scale.suffix}": own.loss if own else None,
        **_limits_columns("drop", own.these_networks if own else None, scale),
        f"mean_drop{scale.suffix}": joined.loss if joined else None,
        **_limits_columns("mean_drop_these_networks", joined.these_networks if joined else None, scale),
        **_limits_columns("mean_drop_another_training", joined.another_training if joined else None, scale),
    }


def _limits_columns(name: str, found: Limits | None, scale: Scale) -> dict[str, Any]:
    keys = (f"low{scale.suffix}", f"high{scale.suffix}", "p_value")
    values = found.row(scale) if found else dict.fromkeys(keys)
    return {f"{name}_{key}": value for key, value in values.items()}


def _latency(timing: Timing) -> dict[str, Any]:
    """Return a latency; of each speed the verdict as the report states it, which is INVALID where there is none."""
    both = {"own": timing.own, "eager": timing.eager}
    return {
        **asdict(timing),
        "throughput_per_s": timing.throughput_per_s,
        "peak_memory": timing.peak_memory and timing.peak_memory._asdict(),
        **{n: speed and {**asdict(speed), "verdict": speed.said} for n, speed in both.items()},
    }


def identity(point: Point) -> dict[str, Any]:
    """Return what tells a point from all others."""
    return {
        **network_identity(point),
        **_values(point, "scheme", "backend"),
        "calibration_batches_asked": point.calibration_batches,
    }


def network_identity(point: Point) -> dict[str, Any]:
    """Return what tells the network of a point from all others."""
    return {**_values(point, "model", "data"), "pruner": point.pruner or "dense", "threshold": point.threshold}


def finite(value: Any) -> Any:
    """Return ``value`` with every number that is not finite replaced by None, in mappings and sequences alike."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def exact_value(name: str, trial: TrialResult) -> float | None:
    """Return what is known exactly of a trial, None where it was not measured.

    ``size`` or ``deflated_size`` of the saved file, or ``memory``, the working memory at batch 1 without weights, in
    bytes; ``flash`` and ``ram`` of a microcontroller, measured where they are, otherwise the estimate of flash and the
    working memory; or ``macs``, multiply-accumulates with a non-zero weight, for one sample.
    """
    if name == "macs":
        return trial.trained.effective_macs if trial.trained else None
    if trial.compressed is None:
        return None
    size, memory = trial.compressed.size, trial.compressed.working_memory_bytes
    micro = trial.compressed.microcontroller
    values = {"size": size.file_bytes, "deflated_size": size.deflated_file_bytes, "memory": memory}
    values |= {"flash": size.flash_bytes, "ram": memory}
    if micro and micro.flash_bytes is not None:
        values["flash"] = micro.flash_bytes
    if micro and micro.arena_bytes is not None:
        values["ram"] = micro.arena_bytes
    return values[name]
