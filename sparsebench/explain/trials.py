"""Brings back trials of a run, and profiles them side by side."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from sparsebench.backends.profiling import OperatorTime, profiles
from sparsebench.errors import SparsebenchError
from sparsebench.explain.findings import BETWEEN, CONVERSIONS, FLOAT, INT8, OTHER, Explanation, Part, Profile
from sparsebench.export.export import HOW_TO_TRUST
from sparsebench.export.formats import find_trial
from sparsebench.runner.stages import Workbench
from sparsebench.runner.trial_network import TrialNetwork, open_trial, torch_threads, why_unusable
from sparsebench.store.environment import cpu_flags
from sparsebench.store.records import Run, TrialResult
from sparsebench.store.run_directory import Store, load_run
from sparsebench.trust import Trust, require_trusted

ROUNDS = 15
"""Blocks of calls of each network, in turn."""

BLOCK_SECONDS = 0.02

_FP32 = "fp32"


def explain_trials(
    run: str | os.PathLike[str],
    trial: str,
    other: str | None = None,
    *,
    batch_sizes: Sequence[int] = (),
    threads: int | None = None,
    trust: Trust = False,
) -> Explanation:
    """Profile two trials of a run side by side, and say why one takes more or less time than the other.

    Args:
        run: the run's directory, ``runs/<name>``.
        trial: the beginning of its key, or parts of its label: ``magnitude 0.8 static openvino seed 0``.
        other: what it is compared with; None for dense fp32 on the same backend.
        batch_sizes: samples in a call; by default the first and the last that the run was measured with.
        threads: inside one operation; by default those that the run was measured with first.
        trust: as of ``export_trial``.

    Raises:
        SparsebenchError: where a trial is not known, has no network, or names what is not trusted.
    """
    found = load_run(run)
    chosen = find_trial(found.trials, trial)
    base = find_trial(found.trials, other) if other else _dense(found, chosen)
    for each in (base, chosen):
        if problem := why_unusable(each):
            raise SparsebenchError(f"{each.trial.label} has no network to be profiled. {problem}")
        require_trusted(each.train.settings if each.train else {}, trust, HOW_TO_TRUST)
    workbench = Workbench(Store(Path(run), writable=False), "cpu")
    sizes = list(dict.fromkeys(batch_sizes or _measured(found, "batch_sizes")))
    threads = threads or _measured(found, "threads")[0]
    pairs = [_pair(workbench, (base, chosen), size, threads) for size in sizes]
    return Explanation(pairs=tuple(pairs), threads=threads)


def _dense(run: Run, chosen: TrialResult) -> TrialResult:
    wanted = chosen.trial
    for one in run.trials:
        same = all(getattr(one.trial, name) == getattr(wanted, name) for name in ("model", "data", "backend", "seed"))
        if same and one.trial.threshold == 0 and one.trial.scheme == _FP32 and one is not chosen:
            return one
    raise SparsebenchError(
        f"{wanted.label} has no dense fp32 network on {wanted.backend} beside it. Name the trial that it is to be "
        "compared with."
    )


def _measured(run: Run, key: str) -> list[int]:
    """Return the first and the last of what a run was measured with, 1 where nothing was timed."""
    measured = run.record.config.get("measure")
    found = measured.get(key) if isinstance(measured, Mapping) else None
    given = [one for one in found if isinstance(one, int) and one > 0] if isinstance(found, list | tuple) else []
    return list(dict.fromkeys([given[0], given[-1]])) if given else [1]


def _pair(
    workbench: Workbench, trials: tuple[TrialResult, TrialResult], batch_size: int, threads: int
) -> tuple[Profile, Profile]:
    opened = [open_trial(workbench, one, batch_size=batch_size, threads=threads) for one in trials]
    with torch_threads(threads):
        latencies = _latencies(opened)
    profiled = profiles([(one.network, one.inputs) for one in opened], threads)
    base, other = (
        Profile(
            label=label,
            batch_size=batch_size,
            microseconds=latency,
            parts=tuple(map(part_of, told)),
            in_float=_in_float(one.record),
            off_width=_off_width(workbench, one.record),
            width=vector_width(),
        )
        for one, label, latency, told in zip(opened, _labels(opened), latencies, profiled, strict=True)
    )
    return base, other


def _labels(opened: Sequence[TrialNetwork]) -> list[str]:
    """Return what trials are called beside each other: what they share is left out."""
    parts = [one.trial.label.split(" · ") for one in opened]
    own = [
        " · ".join(part for part in mine if part not in theirs) for mine, theirs in zip(parts, parts[::-1], strict=True)
    ]
    return own if all(own) else [one.trial.label for one in opened]


def _latencies(opened: Sequence[TrialNetwork]) -> list[float]:
    """Return the median latency of each in microseconds, of short blocks in turn; a first look, and no verdict."""
    calls = []
    for one in opened:
        one.warm_up()
        started = time.perf_counter()
        one()
        calls.append(max(1, round(BLOCK_SECONDS / max(time.perf_counter() - started, 1e-6))))
    found: list[list[float]] = [[] for _ in opened]
    for _ in range(ROUNDS):
        for place, one in enumerate(opened):
            started = time.perf_counter()
            for _ in range(calls[place]):
                one()
            found[place].append((time.perf_counter() - started) / calls[place])
    return [1e6 * median(each) for each in found]


def part_of(told: OperatorTime) -> Part:
    """Return what a profiler told as it is put together here."""
    if told.role == "layer":
        group = INT8 if told.computed_in == "int8" else FLOAT
    else:
        group = {"conversion": CONVERSIONS, "between": BETWEEN}.get(told.role, OTHER)
    return Part(_layer_of(told), told.operator, told.microseconds, group, told.times)


def _layer_of(told: OperatorTime) -> str:
    """Return the path of the module that an operator belongs to; a runtime may add what the operator is."""
    return told.name.rpartition("/")[0] or told.name if told.role == "layer" or "/" not in told.name else ""


def _in_float(record: TrialResult) -> dict[str, str]:
    """Return the layers that a scheme of int8 left in float, with the reason that the audit gives."""
    packed = record.compressed
    if packed is None or not packed.int8_weights:
        return {}
    return {layer.name: layer.reason for layer in packed.layers if layer.reason and layer.bits > 8}


def _off_width(workbench: Workbench, record: TrialResult) -> dict[str, int]:
    """Return the layers of a network with channels removed that no longer fill the vectors of this processor."""
    trained = record.trained
    if trained is None or not trained.structured:
        return {}
    network = workbench.trained(workbench.record("train", record.trial.train))
    return dict(_uneven(network, vector_width()))


def _uneven(network: nn.Module, width: int) -> Iterator[tuple[str, int]]:
    for name, module in network.named_modules():
        weight: Any = getattr(module, "weight", None)
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) and isinstance(weight, torch.Tensor):
            channels = weight.shape[0]
            if channels > width and channels % width:
                yield name, int(channels)


def vector_width() -> int:
    """Return how many fp32 values a vector of this processor holds: 16 with AVX-512, 8 with AVX2, else 4."""
    flags = cpu_flags()
    return 16 if "avx512f" in flags else 8 if "avx2" in flags else 4
