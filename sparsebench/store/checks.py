"""What must hold of a record beyond the range of each field: in itself, and beside those that it is joined with."""

import binascii
import math
import zlib
from collections.abc import Iterator
from functools import singledispatch

import numpy as np

from sparsebench.store.bits import packed_length
from sparsebench.store.floats import unpack_floats
from sparsebench.store.results import CompressResult, EvaluateResult, Score, SensitivityResult, TrainResult
from sparsebench.store.timings import ControlResult, MeasureResult, SpeedupResult
from sparsebench.store.written import PARENTS, StageRecord, TrialRecord, digest_of, stage_key

ROUNDING = 1e-6
"""Two ways of computing one number differ by less."""


def fault_of(record: StageRecord) -> str | None:
    """Return why a record cannot be right, without a look at any other; None where it can.

    Its key says which settings and which parent it is of, so that neither can be another's.
    """
    if record.parent is None and record.stage != "train":
        return f"it names no {PARENTS[record.stage]} that it builds on"
    try:
        key = stage_key(record.stage, record.settings, record.parent)
    except (ValueError, TypeError, RecursionError) as error:
        return f"its settings are none ({error})"
    if key != record.key:
        return "its key is not that of its settings and of what it builds on"
    if record.status == "failed":
        if record.result is not None or record.failure is None:
            return "it failed, and has a result or no reason"
        return None
    if record.result is None or record.failure is not None:
        return "it is done, and has no result or a failure"
    if record.result.kind != record.stage:
        return f"it is of {record.stage}, and its result of {record.result.kind}"
    return next(_faults(record.result), None) or _of_settings(record)


@singledispatch
def _faults(result: object) -> Iterator[str]:
    """Yield what contradicts itself in a result."""
    del result
    yield from ()


@_faults.register
def _(result: TrainResult) -> Iterator[str]:
    yield from _more("zeros among prunable weights", result.prunable_zeros, result.prunable_weights)
    yield from _more("zeros", result.parameter_zeros, result.parameters)
    yield from _more("effective MACs", result.effective_macs or 0, result.macs or result.effective_macs or 0)
    for layer in result.layers:
        yield from _more(f"zeros in layer {layer.name!r}", layer.zeros, layer.weights)
        yield from _more(f"effective MACs in layer {layer.name!r}", layer.effective_macs, layer.macs)


@_faults.register
def _(result: CompressResult) -> Iterator[str]:
    for layer in result.layers:
        yield from _more(f"zeros in layer {layer.name!r}", layer.zeros, layer.weights)


@_faults.register
def _(result: EvaluateResult) -> Iterator[str]:
    if result.score is not None:
        yield from _score_faults(result, result.score)
        return
    if result.top1 is None or result.top1_low is None or result.top1_high is None:
        yield "it has no accuracy, and no other metric"
        return
    if not result.top1_low - ROUNDING <= result.top1 <= result.top1_high + ROUNDING:
        yield f"its accuracy {result.top1:g} is outside of its interval [{result.top1_low:g}, {result.top1_high:g}]"
    if result.correct_bits is not None:
        try:
            length = packed_length(result.correct_bits, result.samples)
        except (binascii.Error, zlib.error, ValueError):
            yield "its samples cannot be unpacked"
        else:
            if length != (result.samples + 7) // 8:
                yield f"it has {result.samples} samples, and says of another number whether they are right"


def _score_faults(result: EvaluateResult, score: Score) -> Iterator[str]:
    metric, room = score.scale.metric, ROUNDING * max(1.0, abs(score.value))
    if any(own is not None for own in (result.top1, result.top1_low, result.top1_high, result.correct_bits)):
        yield f"it has an accuracy beside the metric {metric}"
    if score.scale.is_accuracy:
        yield "its accuracy stands where other metrics do"
    if (score.low is None) is not (score.high is None):
        yield f"it has one end of an interval of {metric}"
    ends = (score.value if score.low is None else score.low, score.value if score.high is None else score.high)
    if not ends[0] - room <= score.value <= ends[1] + room:
        yield f"its {metric} {score.value:g} is outside of its interval [{ends[0]:g}, {ends[1]:g}]"
    for what, packed, count in (
        ("samples", score.values, result.samples),
        ("resamples", score.replicates, score.resamples),
    ):
        if packed is not None:
            try:
                found = unpack_floats(packed, count)
            except (binascii.Error, zlib.error, ValueError):
                yield f"its {what} are not {count} numbers"
            else:
                if not np.isfinite(found).all():
                    yield f"some of its {what} are no numbers"


@_faults.register
def _(result: SensitivityResult) -> Iterator[str]:
    if not result.samples:
        yield "it read no samples"
    if math.isnan(result.dense_value) or any(math.isnan(point.value) for point in result.points):
        yield "it has no accuracy, and no other metric"
    if (result.scale is None) is not (result.dense_metric is None):
        yield "it does not say of which metric it is"


@_faults.register
def _(result: MeasureResult) -> Iterator[str]:
    speedups: list[SpeedupResult | ControlResult] = [result.against, *result.session.controls]
    if result.against_eager:
        speedups.append(result.against_eager)
    for found in speedups:
        if not found.low * (1 - ROUNDING) <= found.speedup <= found.high * (1 + ROUNDING):
            yield f"a speedup {found.speedup:g} is outside of its interval [{found.low:g}, {found.high:g}]"
    weights = result.session.weights
    if weights and (abs(sum(weights) - 1) > ROUNDING or (len(weights) > 1 and max(weights) >= 1)):
        yield "the weights of its processes are no shares of 1"
    if weights and {len(found.by_process) for found in speedups} - {0, len(weights)}:
        yield f"it has weights of {len(weights)} processes, and speedups of another number"
    if result.p95_ms > result.p99_ms * (1 + ROUNDING):
        yield f"its 95th percentile {result.p95_ms:g} ms is above its 99th {result.p99_ms:g} ms"


def _more(what: str, part: int, whole: int) -> Iterator[str]:
    if part > whole:
        yield f"it has {part} {what}, of {whole}"


def _of_settings(record: StageRecord) -> str | None:
    """Return where a latency is of another batch size, number of threads or baseline than its settings ask for."""
    if not isinstance(record.result, MeasureResult):
        return None
    settings, result = record.settings, record.result
    pairs = [(name, settings.get(name), getattr(result, name)) for name in ("batch_size", "threads")]
    for name, found in (("baseline", result.against), ("eager_baseline", result.against_eager)):
        asked = settings.get(name)
        if isinstance(asked, dict) and found is not None:
            pairs.append((name, asked.get("compress"), found.compress))
    return next(
        (f"its {name} is not the one in its settings" for name, asked, got in pairs if asked not in (None, got)), None
    )


def contradiction(record: StageRecord, parent: StageRecord | None) -> str | None:
    """Return where a record contradicts the one that it builds on; None where it does not, or that is not there."""
    if parent is None or record.built_on is None:
        return None
    if record.status == "done" and parent.status != "done":
        return "it is done, and what it builds on failed"
    if record.built_on != digest_of(parent):
        return "it was built on something else than what is there now"
    return None


def other_trial(trial: TrialRecord, record: StageRecord, parent: str | None) -> str | None:
    """Return why a record is none of a trial in ``run.json``; None where it is.

    Args:
        trial: the trial.
        record: what it names as one of its stages.
        parent: the key of what that builds on, by the trial.
    """
    if record.parent != parent:
        return "run.json names it in a trial of another network"
    said = record.settings
    pairs: tuple[tuple[str, object, object], ...] = ()
    if record.stage == "train" and record.key == trial.train:
        pairs = (
            *((name, said.get(name), getattr(trial, name)) for name in ("threshold", "seed")),
            *((name, _name(said.get(name)), getattr(trial, name)) for name in ("model", "data")),
            ("pruner", _name(said.get("pruner")), (trial.pruner or "").partition("(")[0]),
        )
    elif record.stage == "evaluate":
        pairs = (("split", said.get("split"), "val" if record.key == trial.validate else "test"),)
    elif record.stage == "compress":
        quantize = said.get("quantize")
        batches = quantize.get("calibration_batches") if isinstance(quantize, dict) else None
        pairs = (
            ("scheme", said.get("scheme"), trial.scheme),
            ("backend", _name(said.get("backend")), trial.backend.partition("(")[0]),
            ("calibration_batches", batches, trial.calibration_batches),
        )
    wrong = [name for name, own, told in pairs if own is not None and own != told]
    return f"run.json says another {wrong[0]} of it" if wrong else None


def _name(table: object) -> object:
    return table.get("name") if isinstance(table, dict) else None
