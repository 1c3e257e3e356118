"""The frozen record of each stage, and the view of a run that reports are written from.

Every field carries its unit in its name where it has one. Fractions are in [0, 1], never in percent. Nothing is
computed here beyond what follows from one record alone; comparisons between records belong to ``report``.
"""

import base64
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1

StageKind = Literal["train", "compress", "evaluate", "measure", "sensitivity"]
STAGE_KINDS: tuple[StageKind, ...] = ("train", "compress", "evaluate", "measure")
"""The stages of a sweep, in their order; ``sensitivity`` is asked for by itself."""

COLLAPSED_SPARSITY = 0.995
"""A layer with at least this fraction of zeros counts as collapsed: hardly any signal passes it."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecord:
    """What a record was made on. No host name, user name or path is kept."""

    cpu: str
    cpu_flags: tuple[str, ...]
    logical_cores: int
    memory_bytes: int
    gpu: str | None
    os: str
    python: str
    versions: Mapping[str, str]
    threads: int
    commit: str | None

    @property
    def machine(self) -> str:
        """The identity of the machine for timing: processor, cores, operating system, GPU."""
        return " / ".join(filter(None, (self.cpu, f"{self.logical_cores} cores", self.os, self.gpu)))


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """Weights and zeros of one layer of the trained network; ``prunable`` says whether pruning may touch it.

    ``macs`` are its multiply-accumulates for one sample, ``effective_macs`` those whose weight is not zero; both are 0
    where the layer does not run or the network could not be counted.
    """

    name: str
    kind: str
    weights: int
    zeros: int
    prunable: bool
    macs: int = 0
    effective_macs: int = 0

    @property
    def sparsity(self) -> float:
        """Fraction of this layer's weights that is zero."""
        return self.zeros / self.weights if self.weights else 0.0

    @property
    def collapsed(self) -> bool:
        """Whether at least 99.5 % of this layer is zero."""
        return self.sparsity >= COLLAPSED_SPARSITY


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of training. ``threshold`` is the fraction of zeros reached at its end."""

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    threshold: float


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A trained network: how it was trained and how sparse it came out."""

    kind: Literal["train"] = "train"
    trainer: str
    pruned_by: str
    """The pruner that the trainer used: its registered name, ``none`` for a dense network, or ``the trainer's own way``
    where the trainer declares no ``pruner``."""
    train_samples: int
    val_samples: int
    test_samples: int
    classes: int
    input_shape: tuple[int, ...]
    epochs: int
    best_epoch: int | None
    val_accuracy: float | None
    history: tuple[EpochRecord, ...]
    asked_sparsity: float
    prunable_weights: int
    prunable_zeros: int
    parameters: int
    parameter_zeros: int
    layers: tuple[LayerSparsity, ...]
    samples_per_second: float
    macs: int | None = None
    """Multiply-accumulates for one sample, of all that the network computes; None where they could not be counted."""
    effective_macs: int | None = None
    """Those of ``macs`` whose weight is not zero."""
    structured: bool = False
    """Whether channels were removed. Weights and parameters are counted as in the dense network all the same, here and
    in ``layers``, and what was removed is among the zeros."""
    removed_parameters: int = 0
    """How many of the prunable weights were removed with their channels; the other zeros are still in the network."""

    @property
    def sparsity(self) -> float:
        """Fraction of prunable weights that is zero."""
        return self.prunable_zeros / self.prunable_weights if self.prunable_weights else 0.0

    @property
    def total_sparsity(self) -> float:
        """Fraction of all parameters that is zero."""
        return self.parameter_zeros / self.parameters if self.parameters else 0.0


@dataclass(frozen=True, kw_only=True)
class LayerAudit:
    """What became of one layer's weights in the network that really runs.

    ``bits`` is the width in which its weights are held; ``reason`` says why they are not int8, empty where they are.
    ``computed_in`` is the format of its multiplications (``int8``, ``fp32``, ``bf16``, ``fp16``), empty where unknown;
    ``macs`` are its multiply-accumulates for one sample, None where the network that runs does not tell.
    """

    name: str
    kind: str
    weights: int
    zeros: int
    bits: int
    reason: str
    computed_in: str = ""
    macs: int | None = None


@dataclass(frozen=True, kw_only=True)
class SizeResult:
    """How large a network is. All but the flash estimate are measured on its state dict.

    ``deflated_file_bytes`` is the saved file after DEFLATE (level 9): the only one that unstructured zeros shrink.
    ``flash_bytes`` estimates a store of non-zero weights alone: non-zero × bits / 8, without indices.
    """

    payload_bytes: int
    file_bytes: int
    deflated_file_bytes: int
    nonzero_parameters: int
    flash_bytes: int


@dataclass(frozen=True, kw_only=True)
class CompressResult:
    """A network after a scheme on a backend: what was really quantized and how large it is."""

    kind: Literal["compress"] = "compress"
    calibration_batches: int
    calibration_seconds: float
    layers: tuple[LayerAudit, ...]
    size: SizeResult
    working_memory_bytes: int | None = None
    """Largest sum of a layer's input and output activations at batch 1, in the widths in which the network runs; None
    where it could not be measured."""

    @property
    def weights(self) -> int:
        """Weights of all layers."""
        return sum(layer.weights for layer in self.layers)

    @property
    def int8_weights(self) -> int:
        """Weights held in 8 bits."""
        return sum(layer.weights for layer in self.layers if layer.bits == 8)

    @property
    def zeros(self) -> int:
        """Zero weights of all layers, as they stand after quantization."""
        return sum(layer.zeros for layer in self.layers)


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """Accuracy on the test set, read once.

    ``correct_bits`` holds, for every test sample in order, whether it was classified rightly (see ``pack_bits``); it is
    None where the trainer does not tell, and accuracy differences are then unpaired.
    """

    kind: Literal["evaluate"] = "evaluate"
    samples: int
    top1: float
    top1_low: float
    top1_high: float
    top5: float | None
    correct_bits: str | None

    @property
    def correct(self) -> tuple[bool, ...] | None:
        """Per-sample correctness in test order, or None where the trainer did not leave it."""
        return None if self.correct_bits is None else unpack_bits(self.correct_bits, self.samples)


@dataclass(frozen=True, kw_only=True)
class MeasureResult:
    """Latency of one forward pass at one batch size and number of threads.

    ``protocol`` names how it was taken; ``loop`` is a warmed-up loop of one network at a time, without pairing.
    """

    kind: Literal["measure"] = "measure"
    protocol: str
    batch_size: int
    threads: int
    calls: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    samples_ms: tuple[float, ...]

    @property
    def throughput_per_s(self) -> float:
        """Samples per second at the median latency."""
        return 1000.0 * self.batch_size / self.median_ms


@dataclass(frozen=True, kw_only=True)
class SensitivityPoint:
    """Validation accuracy after one layer alone was pruned to ``threshold``, without training."""

    layer: str
    kind: str
    weights: int
    threshold: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class SensitivityResult:
    """How much each layer of a dense network minds being pruned; accuracies are of the validation split."""

    kind: Literal["sensitivity"] = "sensitivity"
    samples: int
    dense_accuracy: float
    points: tuple[SensitivityPoint, ...]


Result = TrainResult | CompressResult | EvaluateResult | MeasureResult | SensitivityResult


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a stage failed: exception type, its text, and the traceback."""

    error: str
    message: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage, done or failed. ``artifacts`` maps file names in the stage's directory to their SHA-256."""

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
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One operating point of the plan and the keys of its stages.

    ``not_offered`` is the reason why its backend does not offer its scheme; such a trial has no stages of its own.
    ``pruner`` is None at threshold 0, the dense control, which all pruners share. ``ancestors`` are the training stages
    that its own started from, the first of them first.
    """

    model: str
    data: str
    pruner: str | None
    threshold: float
    seed: int
    scheme: str
    backend: str
    train: str
    ancestors: tuple[str, ...] = ()
    compress: str | None = None
    evaluate: str | None = None
    measure: tuple[str, ...] = ()
    not_offered: str | None = None

    @property
    def label(self) -> str:
        """One line that names the trial, for progress and messages."""
        pruner = "dense" if self.pruner is None else f"{self.pruner} {self.threshold:g}"
        return f"{self.model} · {self.data} · {pruner} · {self.scheme} · {self.backend} · seed {self.seed}"


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
    def failed_stage(self) -> StageRecord | None:
        """The record of the first stage that failed, one that training started from included, or None."""
        return next((record for record in (*self.ancestors, *self.stages) if record.status == "failed"), None)

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
        result = self.train.result if self.train else None
        return result if isinstance(result, TrainResult) else None

    @property
    def compressed(self) -> CompressResult | None:
        """The result of compression, or None."""
        result = self.compress.result if self.compress else None
        return result if isinstance(result, CompressResult) else None

    @property
    def evaluated(self) -> EvaluateResult | None:
        """The result of evaluation, or None."""
        result = self.evaluate.result if self.evaluate else None
        return result if isinstance(result, EvaluateResult) else None

    @property
    def measured(self) -> tuple[MeasureResult, ...]:
        """The latencies measured, one for each batch size and number of threads."""
        return tuple(r.result for r in self.measure if isinstance(r.result, MeasureResult))


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run read back: what was asked for and what is there."""

    record: RunRecord
    trials: tuple[TrialResult, ...]

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
    return {
        "model": point.model,
        "data": point.data,
        "pruner": point.pruner or "dense",
        "threshold": point.threshold,
        "seed": point.seed,
        "scheme": point.scheme,
        "backend": point.backend,
        "status": trial.status,
        "top1": scored and scored.top1,
        "top1_low": scored and scored.top1_low,
        "top1_high": scored and scored.top1_high,
        "top5": scored and scored.top5,
        "test_samples": scored and scored.samples,
        "sparsity_asked": trained and trained.asked_sparsity,
        "sparsity": trained and trained.sparsity,
        "sparsity_total": trained and trained.total_sparsity,
        "sparsity_compressed": packed and (packed.zeros / packed.weights if packed.weights else 0.0),
        "parameters": trained and trained.parameters,
        "macs": trained and trained.macs,
        "effective_macs": trained and trained.effective_macs,
        "int8_fraction": packed and (packed.int8_weights / packed.weights if packed.weights else 0.0),
        "payload_bytes": packed and packed.size.payload_bytes,
        "file_bytes": packed and packed.size.file_bytes,
        "deflated_file_bytes": packed and packed.size.deflated_file_bytes,
        "nonzero_parameters": packed and packed.size.nonzero_parameters,
        "flash_bytes": packed and packed.size.flash_bytes,
        "working_memory_bytes": packed and packed.working_memory_bytes,
        "calibration_batches": packed and packed.calibration_batches,
        "batch_size": timed and timed.batch_size,
        "threads": timed and timed.threads,
        "latency_median_ms": timed and timed.median_ms,
        "latency_p95_ms": timed and timed.p95_ms,
        "latency_p99_ms": timed and timed.p99_ms,
        "throughput_per_s": timed and timed.throughput_per_s,
        "training_seconds": trial.train and trial.train.seconds,
        "compress_seconds": trial.compress and trial.compress.seconds,
        "calibration_seconds": packed and packed.calibration_seconds,
        "evaluation_seconds": trial.evaluate and trial.evaluate.seconds,
        "key": point.evaluate,
        "reason": point.not_offered or (trial.failed_stage and failure_line(trial.failed_stage)),
    }


def failure_line(record: StageRecord) -> str:
    """Return the reason of a failed stage on one line."""
    failure = record.failure
    text = f"{failure.error}: {failure.message}" if failure else "no reason recorded"
    return f"{record.stage} failed (attempt {record.attempt}): {' '.join(text.split())}"


def pack_bits(correct: Iterable[bool]) -> str:
    """Return booleans as base64 of the deflated bits, eight to a byte, most significant first."""
    flags = [bool(flag) for flag in correct]
    number = int("".join("1" if flag else "0" for flag in flags) or "0", 2)
    padding = -len(flags) % 8
    raw = (number << padding).to_bytes((len(flags) + padding) // 8, "big")
    return base64.b64encode(zlib.compress(raw, 9)).decode("ascii")


def unpack_bits(packed: str, count: int) -> tuple[bool, ...]:
    """Return the ``count`` booleans that ``pack_bits`` packed."""
    raw = zlib.decompress(base64.b64decode(packed))
    bits = "".join(f"{byte:08b}" for byte in raw)
    return tuple(bit == "1" for bit in bits[:count])
