"""The frozen records of stages, trials and runs, and a run read back, which is what reports are written from.

Every field carries its unit in its name where it has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from sparsebench.store.environment import EnvironmentRecord
from sparsebench.store.results import CompressResult, EvaluateResult, LayerAudit, Result, TrainResult
from sparsebench.store.timings import MeasureResult

Kind = TypeVar("Kind")

SCHEMA_VERSION = 2

StageKind = Literal["train", "compress", "evaluate", "measure", "sensitivity"]
STAGE_KINDS: tuple[StageKind, ...] = ("train", "compress", "evaluate", "measure")
"""The stages of a sweep, in their order; ``sensitivity`` is asked for by itself."""

PARENTS: Mapping[StageKind, StageKind] = {
    "train": "train",
    "compress": "train",
    "evaluate": "compress",
    "measure": "compress",
    "sensitivity": "train",
}
"""What kind of stage each kind builds on."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a stage failed: exception type, its text, and the traceback."""

    error: str
    message: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage, done or failed. ``artifacts`` maps file names in the stage's directory to their SHA-256.

    ``seed`` is that of all random number generators of the stage; stages that build on a training have that of the
    training. ``built_on`` is the SHA-256 over the artifacts of the parent, as they were when this was made. Both are
    None in records of earlier versions.
    """

    stage: StageKind
    key: str
    parent: str | None
    settings: Mapping[str, Any]
    status: Literal["done", "failed"]
    attempt: int
    started_at: str
    seconds: float
    environment: EnvironmentRecord
    warnings: tuple[str, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    result: Result | None = None
    failure: Failure | None = None
    seed: int | None = None
    built_on: str | None = None
    schema_version: int = SCHEMA_VERSION


def pruning_in_short(pruner: str | None, threshold: float) -> str:
    """Return pruner and threshold as they are named everywhere: ``magnitude 0.9``, or ``dense``."""
    return f"{pruner} {threshold:g}" if threshold else "dense"


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One operating point of the plan and the keys of its stages.

    ``not_offered`` is the reason why its backend does not offer its scheme; such a trial has no stages of its own.
    ``pruner`` is None at threshold 0, the dense control, which all pruners share. ``ancestors`` are the training stages
    that its own started from, the first of them first. ``calibration_batches`` is how many calibration may read at
    most, None where the scheme does not calibrate.
    """

    model: str
    data: str
    pruner: str | None
    threshold: float
    seed: int
    scheme: str
    backend: str
    train: str
    calibration_batches: int | None = None
    ancestors: tuple[str, ...] = ()
    compress: str | None = None
    evaluate: str | None = None
    measure: tuple[str, ...] = ()
    not_offered: str | None = None

    @property
    def pruning(self) -> str:
        """Pruner and threshold in short: ``magnitude 0.9``, or ``dense``."""
        return pruning_in_short(self.pruner, self.threshold)

    @property
    def label(self) -> str:
        """One line that names the trial, for progress and messages."""
        return f"{self.model} · {self.data} · {self.pruning} · {self.scheme} · {self.backend} · seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run was asked for: its resolved config and all its trials."""

    name: str
    config: Mapping[str, Any]
    command: str
    sparsebench: str
    trials: tuple[TrialRecord, ...]
    environment: EnvironmentRecord
    schema_version: int = SCHEMA_VERSION


TrialStatus = Literal["done", "failed", "pending", "not offered"]


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """A trial joined with the records of its stages; a stage that has not run is None.

    ``ancestors`` are the records of the training stages that its own started from, as far as they have run.
    """

    trial: TrialRecord
    ancestors: tuple[StageRecord, ...] = ()
    train: StageRecord | None = None
    compress: StageRecord | None = None
    evaluate: StageRecord | None = None
    measure: tuple[StageRecord, ...] = ()

    @property
    def stages(self) -> tuple[StageRecord, ...]:
        """The records there are, in the order of the stages."""
        return tuple(r for r in (self.train, self.compress, self.evaluate, *self.measure) if r is not None)

    @property
    def records(self) -> tuple[StageRecord, ...]:
        """The records of all stages that the trial depends on, those that training started from first."""
        return (*self.ancestors, *self.stages)

    @property
    def failed_stage(self) -> StageRecord | None:
        """The record of the first stage that failed, one that training started from included, or None."""
        return next((record for record in self.records if record.status == "failed"), None)

    @property
    def status(self) -> TrialStatus:
        """Where the trial stands."""
        if self.trial.not_offered:
            return "not offered"
        if self.failed_stage:
            return "failed"
        wanted = 3 + len(self.trial.measure)
        return "done" if len(self.stages) == wanted else "pending"

    @property
    def trained(self) -> TrainResult | None:
        """The result of training, or None."""
        return _result(self.train, TrainResult)

    @property
    def compressed(self) -> CompressResult | None:
        """The result of compression, or None."""
        return _result(self.compress, CompressResult)

    @property
    def evaluated(self) -> EvaluateResult | None:
        """The result of evaluation, or None."""
        return _result(self.evaluate, EvaluateResult)

    @property
    def audited(self) -> tuple[LayerAudit, ...]:
        """The layers of the network that runs, with the MACs of the trained network where it tells none itself.

        A layer keeps its name through quantization as far as the library lets it; MACs that cannot be told are None.
        """
        return tuple(a if a.macs == macs else replace(a, macs=macs) for a, macs in self._layers_and_macs())

    @property
    def int8_mac_fraction(self) -> float | None:
        """Share of all multiply-accumulates of one sample that are computed in int8.

        MACs in int8 / all MACs of the network, those of no layer, such as attention, included. None where an int8 layer
        does not tell its MACs or the format it computes in.
        """
        layers = self._layers_and_macs()
        every = max((self.trained and self.trained.macs) or 0, sum(macs or 0 for _, macs in layers))
        in_int8 = [macs for a, macs in layers if a.computed_in == "int8"]
        unknown = None in in_int8 or any(a.bits == 8 and not a.computed_in for a, _ in layers)
        return None if unknown or not every or self.compressed is None else sum(filter(None, in_int8)) / every

    def _layers_and_macs(self) -> list[tuple[LayerAudit, int | None]]:
        counted: dict[str, int] = {}
        for row in self.trained.layers if self.trained and self.trained.macs is not None else ():
            # A layer of which pruning may touch one weight and not another has two rows, and its MACs in the first.
            counted[row.name] = counted.get(row.name, 0) + row.macs
        layers = self.compressed.layers if self.compressed else ()
        return [(a, counted.get(a.name) if a.macs is None else a.macs) for a in layers]

    @property
    def measured(self) -> tuple[MeasureResult, ...]:
        """The latencies measured, one for each batch size and number of threads."""
        return tuple(r.result for r in self.measure if isinstance(r.result, MeasureResult))


def _result(record: StageRecord | None, kind: type[Kind]) -> Kind | None:
    result = record.result if record else None
    return result if isinstance(result, kind) else None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run read back: what was asked for, what is there, and when each start began that found work to do."""

    record: RunRecord
    trials: tuple[TrialResult, ...]
    starts: tuple[datetime, ...] = ()

    def frame(self) -> Any:
        """Return the trials as a pandas data frame, one row each.

        Raises:
            ImportError: where pandas is not installed.
        """
        import pandas

        return pandas.DataFrame([flat_row(trial) for trial in self.trials])


def flat_row(trial: TrialResult) -> dict[str, Any]:
    """Return a trial as one flat mapping of column to value; what was not measured is None.

    Latency columns are given for the first batch size and number of threads; ``measured`` holds the others.
    """
    point, trained, packed = trial.trial, trial.trained, trial.compressed
    scored, timed = trial.evaluated, trial.measured[0] if trial.measured else None
    against, eager = timed and timed.against, timed and timed.against_eager
    return {
        **_columns(point, "model", "data"),
        "pruner": point.pruner or "dense",
        **_columns(point, "threshold", "seed", "scheme", "backend"),
        "status": trial.status,
        **_columns(scored, "top1", "top1_low", "top1_high", "top5"),
        "test_samples": scored and scored.samples,
        "sparsity_asked": trained and trained.asked_sparsity,
        "sparsity": trained and trained.sparsity,
        "sparsity_total": trained and trained.total_sparsity,
        "sparsity_compressed": packed and (packed.zeros / packed.weights if packed.weights else 0.0),
        **_columns(trained, "parameters", "macs", "effective_macs"),
        "int8_fraction": packed and packed.int8_fraction,
        "int8_mac_fraction": trial.int8_mac_fraction,
        **_columns(packed and packed.size, "payload_bytes", "file_bytes", "deflated_file_bytes"),
        **_columns(packed and packed.size, "nonzero_parameters", "flash_bytes"),
        "working_memory_bytes": packed and packed.working_memory_bytes,
        "calibration_batches_asked": point.calibration_batches,
        "calibration_batches": packed and packed.calibration_batches,
        **_columns(timed, "batch_size", "threads"),
        "latency_median_ms": timed and timed.median_ms,
        "latency_p95_ms": timed and timed.p95_ms,
        "latency_p99_ms": timed and timed.p99_ms,
        "throughput_per_s": timed and timed.throughput_per_s,
        "latency_ratio": against and against.ratio,
        "latency_ratio_low": against and against.low,
        "latency_ratio_high": against and against.high,
        "latency_ratio_eager": eager and eager.ratio,
        "latency_ratio_eager_low": eager and eager.low,
        "latency_ratio_eager_high": eager and eager.high,
        "latency_baseline": against and against.baseline,
        "timing_valid": timed and timed.session.valid,
        "timing_session": timed and timed.session.id,
        "peak_memory_bytes": timed and timed.peak_memory_bytes,
        "training_seconds": trial.train and trial.train.seconds,
        "compress_seconds": trial.compress and trial.compress.seconds,
        "calibration_seconds": packed and packed.calibration_seconds,
        "evaluation_seconds": trial.evaluate and trial.evaluate.seconds,
        "key": point.evaluate,
        "reason": point.not_offered or (trial.failed_stage and failure_line(trial.failed_stage)),
    }


def _columns(found: object, *names: str) -> dict[str, Any]:
    return {name: found and getattr(found, name) for name in names}


def failure_line(record: StageRecord) -> str:
    """Return the reason of a failed stage on one line."""
    failure = record.failure
    text = f"{failure.error}: {failure.message}" if failure else "no reason recorded"
    return f"{record.stage} failed (attempt {record.attempt}): {' '.join(text.split())}"
