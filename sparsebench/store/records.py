"""The frozen records of stages, trials and runs, and a run read back, which is what reports are written from.

Every field carries its unit in its name where it has one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

from sparsebench.store.environment import EnvironmentRecord
from sparsebench.store.latencies import Latencies, latency_columns
from sparsebench.store.layers import audited_layers, int8_share
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
class Run:
    """A run read back: what was asked for, what is there, and when each start began that found work to do."""

    record: RunRecord
    trials: tuple[TrialResult, ...]
    starts: tuple[datetime, ...] = ()

    def frame(self) -> Any:
        """Return the trials as a pandas data frame, one row each, as ``flat_row``; pandas must be installed."""
        import pandas

        latencies = latencies_of(self.trials)
        return pandas.DataFrame([flat_row(trial, latencies) for trial in self.trials])

    def latencies(self) -> Any:
        """Return the latencies as a pandas data frame, one row each, as ``latency_rows``; pandas must be installed."""
        import pandas

        return pandas.DataFrame(latency_rows(self))


def flat_row(trial: TrialResult, latencies: Latencies | None = None) -> dict[str, Any]:
    """Return a trial as one flat mapping of column to value; what was not measured is None.

    Latency columns are those of the first batch size and number of threads; ``latency_rows`` gives all of them.
    Without ``latencies``, those of its run, the latency is that of its own session.
    """
    point, trained, packed, scored = trial.trial, trial.trained, trial.compressed, trial.evaluated
    machine, timed = next(iter(trial.timed), ("", None))
    ms = (latencies.ms(machine, timed) if latencies else timed.shown_ms) if timed else None
    return {
        **_identity(point),
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
        **latency_columns(timed, ms, point.compress),
        "training_seconds": trial.train and trial.train.seconds,
        "compress_seconds": trial.compress and trial.compress.seconds,
        "calibration_seconds": packed and packed.calibration_seconds,
        "evaluation_seconds": trial.evaluate and trial.evaluate.seconds,
        "key": point.evaluate,
        "reason": point.not_offered or (trial.failed_stage and failure_line(trial.failed_stage)),
    }


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
