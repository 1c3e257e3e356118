"""A run read back: its trials joined with the records of their stages, which is what reports are written from.

Every field carries its unit in its name where it has one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

from sparsebench.errors import SparsebenchError
from sparsebench.store.latencies import Latencies, latency_columns
from sparsebench.store.layers import audited_layers, int8_share
from sparsebench.store.results import CompressResult, EvaluateResult, LayerAudit, TrainResult
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.store.timings import MeasureResult
from sparsebench.store.written import (
    PARENTS,
    SCHEMA_VERSION,
    STAGE_KINDS,
    Failure,
    RunRecord,
    StageKind,
    StageRecord,
    TrialRecord,
    pruning_in_short,
)

__all__ = [
    "PARENTS",
    "SCHEMA_VERSION",
    "STAGE_KINDS",
    "Failure",
    "LeftOut",
    "Run",
    "RunRecord",
    "StageKind",
    "StageRecord",
    "TrialRecord",
    "TrialResult",
    "TrialStatus",
    "failure_line",
    "flat_row",
    "latencies_of",
    "latency_row",
    "latency_rows",
    "pruning_in_short",
]

Kind = TypeVar("Kind")

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
    validate: StageRecord | None = None
    evaluate: StageRecord | None = None
    measure: tuple[StageRecord, ...] = ()

    @property
    def stages(self) -> tuple[StageRecord, ...]:
        """The records there are, in the order of the stages."""
        return tuple(r for r in self._all if r is not None)

    @property
    def _all(self) -> tuple[StageRecord | None, ...]:
        return (self.train, self.compress, self.validate, self.evaluate, *self.measure)

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
        wanted = 3 + bool(self.trial.validate) + len(self.trial.measure)
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
    def validated(self) -> EvaluateResult | None:
        """The result on the validation split; None where there is none, or where the trainer read something else."""
        found = _result(self.validate, EvaluateResult)
        return found if found and found.split == "val" else None

    @property
    def evaluated(self) -> EvaluateResult | None:
        """The result on the test set, or None."""
        return _result(self.evaluate, EvaluateResult)

    @property
    def audited(self) -> tuple[LayerAudit, ...]:
        """The layers of the network that runs, with the MACs of the trained network where it tells none itself."""
        return audited_layers(self.trained, self.compressed)

    @property
    def int8_mac_fraction(self) -> float | None:
        """Share of all multiply-accumulates of one sample that are computed in int8; None where it is not known."""
        return int8_share(self.trained, self.compressed)

    @property
    def timed(self) -> tuple[tuple[str, MeasureResult], ...]:
        """The latencies measured, one for each batch size and number of threads, each after its machine."""
        return tuple((r.environment.machine, r.result) for r in self.measure if isinstance(r.result, MeasureResult))

    @property
    def measured(self) -> tuple[MeasureResult, ...]:
        """The latencies measured, without their machines."""
        return tuple(measured for _, measured in self.timed)


def _result(record: StageRecord | None, kind: type[Kind]) -> Kind | None:
    result = record.result if record else None
    return result if isinstance(result, kind) else None


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A record that is there and not believed: of which stage, and why."""

    stage: StageKind
    key: str
    why: str

    def __str__(self) -> str:
        return f"{self.stage} {self.key[:12]} ({self.why})"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run read back: what was asked for, what is there, and when each start began that found work to do.

    ``left_out`` are the records that are not believed. What they were of counts as not done.
    """

    record: RunRecord
    trials: tuple[TrialResult, ...]
    starts: tuple[datetime, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def frame(self) -> Any:
        """Return the trials as a pandas data frame with the columns of data.csv that one trial tells, one row a trial.

        Raises:
            SparsebenchError: where pandas, the extra ``sparsebench[pandas]``, is not installed.
        """
        latencies = latencies_of(self.trials)
        return _pandas().DataFrame([flat_row(trial, latencies, scale_of(self)) for trial in self.trials])

    def latencies(self) -> Any:
        """Return the latencies as a pandas data frame with the columns of latency.csv, one row a latency.

        Raises:
            SparsebenchError: where pandas, the extra ``sparsebench[pandas]``, is not installed.
        """
        return _pandas().DataFrame(latency_rows(self))


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise SparsebenchError(
            "A data frame needs pandas, which is not installed; run \"pip install 'sparsebench[pandas]'\". The report "
            "has the same rows in data.csv and latency.csv."
        ) from None
    return pandas


def scale_of(run: Run) -> Scale:
    """Return what the metric of a run means; accuracy where nothing was evaluated."""
    return next((trial.evaluated.scale for trial in run.trials if trial.evaluated), ACCURACY)


def flat_row(trial: TrialResult, latencies: Latencies | None = None, scale: Scale | None = None) -> dict[str, Any]:
    """Return a trial as one flat mapping of column to value; what was not measured is None.

    ``scale`` is that of the run's metric, by default of the trial's; another than accuracy has columns of its own.
    Latency columns are those of the first batch size and number of threads; ``latency_rows`` gives all of them.
    Without ``latencies``, those of its run, the latency is that of its own session.
    """
    point, trained, packed, scored = trial.trial, trial.trained, trial.compressed, trial.evaluated
    machine, timed = next(iter(trial.timed), ("", None))
    ms = (latencies.ms(machine, timed) if latencies else timed.shown_ms) if timed else None
    return {
        **_identity(point),
        "status": trial.status,
        **_values_of(trial, scale or (scored.scale if scored else ACCURACY)),
        "test_samples": scored and scored.samples,
        **_validated_of(trial, scale or (scored.scale if scored else ACCURACY)),
        "val_samples": trial.validated and trial.validated.samples,
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
        **latency_columns(timed, ms, point.compress),
        "training_seconds": trial.train and trial.train.seconds,
        "compress_seconds": trial.compress and trial.compress.seconds,
        "calibration_seconds": packed and packed.calibration_seconds,
        "evaluation_seconds": trial.evaluate and trial.evaluate.seconds,
        "key": point.evaluate,
        "reason": point.not_offered or (trial.failed_stage and failure_line(trial.failed_stage)),
    }


def _values_of(trial: TrialResult, scale: Scale) -> dict[str, Any]:
    scored = trial.evaluated
    if scale.is_accuracy:
        return {
            **_columns(scored, "top1", "top1_low", "top1_high", "top5"),
            **_columns(scored, "balanced_accuracy", "worst_class_recall", "largest_class_share"),
        }
    named = {"value": scored and scored.value, "value_low": scored and scored.low, "value_high": scored and scored.high}
    return {"metric": scale.metric, "unit": scale.unit, "higher_is_better": scale.higher_is_better, **named}


def _validated_of(trial: TrialResult, scale: Scale) -> dict[str, Any]:
    name = "val_top1" if scale.is_accuracy else "val_value"
    return {name: trial.validated and trial.validated.value}


def latency_rows(run: Run) -> list[dict[str, Any]]:
    """Return one row for each trial, batch size and number of threads that was timed."""
    latencies = latencies_of(run.trials)
    return [
        latency_row(trial.trial, measured, latencies.ms(machine, measured))
        for trial in run.trials
        for machine, measured in trial.timed
    ]


def latency_row(trial: TrialRecord, measured: MeasureResult | None, ms: float | None) -> dict[str, Any]:
    """Return one of them; ``key`` is that of the trial."""
    asked = {"calibration_batches_asked": trial.calibration_batches, "key": trial.evaluate}
    return {**_identity(trial), **asked, **latency_columns(measured, ms, trial.compress)}


def latencies_of(trials: Iterable[TrialResult]) -> Latencies:
    """Return the latencies of the trials of a run on one axis."""
    return Latencies((machine, t.trial.compress, measured) for t in trials for machine, measured in t.timed)


def _identity(point: TrialRecord) -> dict[str, Any]:
    pruner = {"pruner": point.pruner or "dense"}
    return {**_columns(point, "model", "data"), **pruner, **_columns(point, "threshold", "seed", "scheme", "backend")}


def _columns(found: object, *names: str) -> dict[str, Any]:
    return {name: found and getattr(found, name) for name in names}


def failure_line(record: StageRecord) -> str:
    """Return the reason of a failed stage on one line."""
    failure = record.failure
    text = f"{failure.error}: {failure.message}" if failure else "no reason recorded"
    return f"{record.stage} failed (attempt {record.attempt}): {' '.join(text.split())}"
