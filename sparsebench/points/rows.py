"""Operating points as plain values, for programs."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sparsebench.points.drops import Drop
from sparsebench.points.latency import Speed
from sparsebench.points.points import Point, Timing
from sparsebench.points.zeros import zeros_row


def point_row(point: Point) -> dict[str, Any]:
    """Return an aggregated point as plain values, with units in the names."""
    return {
        **identity(point),
        "seeds": [seed.trial.trial.seed for seed in point.seeds],
        "planned": point.planned,
        "top1": point.top1 and asdict(point.top1),
        "top5": point.top5 and asdict(point.top5),
        "drop": _drop(point.drop),
        "drop_std_pp": point.drop_std_pp,
        "drop_vs_eager": _drop(point.drop_eager),
        "drop_by_seed": [{"seed": s.trial.trial.seed, **(_drop(s.drop) or {})} for s in point.seeds if s.drop],
        "interaction_pp": point.interaction and asdict(point.interaction),
        "sparsity_asked": point.sparsity_asked,
        "sparsity": point.sparsity and asdict(point.sparsity),
        "file_bytes": point.file_bytes,
        "deflated_file_bytes": point.deflated_file_bytes,
        "payload_bytes": point.payload_bytes,
        "flash_bytes": point.flash_bytes,
        "file_ratio": point.file_ratio,
        "deflated_ratio": point.deflated_ratio,
        "compression_ratio": point.compression_ratio,
        "int8_fraction": point.int8_fraction,
        "int8_mac_fraction": point.int8_mac_fraction,
        **zeros_row(point.zeros),
        "macs": point.macs,
        "effective_macs": point.effective_macs,
        "theoretical_speedup": point.theoretical_speedup,
        "working_memory_bytes": point.working_memory_bytes,
        "latency": [_latency(timing) for timing in point.timings],
    }


def _latency(timing: Timing) -> dict[str, Any]:
    """Return a latency; of each speed the verdict as the report states it, which is INVALID where there is none."""
    speeds = {name: speed and {**asdict(speed), "verdict": speed.said} for name, speed in _speeds(timing)}
    return {**asdict(timing), **speeds}


def _speeds(timing: Timing) -> tuple[tuple[str, Speed | None], ...]:
    return ("own", timing.own), ("eager", timing.eager)


def identity(point: Point) -> dict[str, Any]:
    """Return what tells a point from all others."""
    batches = point.calibration_batches
    return {
        **network_identity(point),
        "scheme": point.scheme,
        "backend": point.backend,
        "calibration_batches_asked": batches,
    }


def network_identity(point: Point) -> dict[str, Any]:
    """Return what tells the network of a point from all others."""
    return {
        "model": point.model,
        "data": point.data,
        "pruner": "dense" if point.dense else point.pruner,
        "threshold": point.threshold,
    }


def _drop(drop: Drop | None) -> dict[str, Any] | None:
    return drop._asdict() if drop else None


def finite(value: Any) -> Any:
    """Return ``value`` with every number that is not finite replaced by None, in mappings and sequences alike."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
