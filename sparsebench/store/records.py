"""The frozen record of each stage, and the view of a run that reports are written from.

Every field carries its unit in its name where it has one. Fractions are in [0, 1], never in percent. Nothing is
computed here beyond what follows from one record alone; comparisons between records belong to ``report``.
"""

import base64
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

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
class LoadedWeights:
    """The checkpoint that a dense network was loaded from.

    ``source`` is the path or the name in the config, ``sha256`` the digest of the file, None where a library published
    it. ``tensors`` were filled; those in ``fresh`` kept the values that they were built with, those in ``unexpected``
    are not in the network.
    """

    source: str
    sha256: str | None
    tensors: int
    fresh: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether it filled the whole network, which then needs no training."""
        return not self.fresh


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
    epoch_samples: int | None = None
    """Training samples read in an epoch; None for all of them."""
    macs: int | None = None
    """Multiply-accumulates for one sample, of all that the network computes; None where they could not be counted."""
    effective_macs: int | None = None
    """Those of ``macs`` whose weight is not zero."""
    structured: bool = False
    """Whether channels were removed. Weights and parameters are counted as in the dense network all the same, here and
    in ``layers``, and what was removed is among the zeros."""
    removed_parameters: int = 0
    """How many of the prunable weights were removed with their channels; the other zeros are still in the network."""
    loaded: LoadedWeights | None = None
    """The checkpoint that the network was loaded from; None where it was trained from nothing or from another of the
    run. A network that it filled was not trained: its ``epochs`` are 0."""

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
    training_epochs: int = 0
    """Epochs for which the scheme trained the network further (``qat``)."""
    training_seconds: float = 0.0

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
class RatioResult:
    """A latency divided by a baseline's, of rounds in which both were timed; below 1 is faster.

    ``baseline`` names the network, and ``compress`` is the key of the stage that made it. ``ratio`` is the median over
    rounds of paired ratios, ``low`` and ``high`` are its 95 % limits and ``p_value`` that of "the median ratio is 1",
    all for this ratio by itself. Where ``generation_ratios``, one for each worker process, lie farther apart than the
    interval is wide, the ratio depends on how a process happens to lay out its memory.
    """

    baseline: str
    compress: str
    ratio: float
    low: float
    high: float
    p_value: float
    generation_ratios: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SessionResult:
    """The session in which networks were timed together; each of their records holds it.

    ``control_*`` is the ratio of a second copy of the baseline, which should be 1, and ``valid`` whether it may be, but
    for ``band``. ``seed`` is that of the order of networks in the rounds. ``stopped`` says whether every interval got
    narrower than ``precision`` to either side, or time or rounds ran out before. ``conditions`` are the largest values
    over the rounds, of what the system tells: ``load_1min``, ``steal_share``, ``voluntary_switches``,
    ``involuntary_switches``, ``frequency_mhz``, ``throttle_events`` and ``gpu_clock_mhz``; the artifact has them for
    each round. ``foreign_cores`` among them is how many cores other processes kept busy, in the mean over the session.
    ``in_process_because`` says why no worker processes timed, None where they did.
    """

    id: str
    seed: int
    networks: int
    rounds: int
    generations: int
    seconds: float
    stopped: Literal["precise", "cap"]
    precision: float
    band: float
    control_ratio: float
    control_low: float
    control_high: float
    valid: bool
    conditions: Mapping[str, float] = field(default_factory=dict)
    in_process_because: str | None = None


@dataclass(frozen=True, kw_only=True)
class MeasureResult:
    """Latency of one forward pass at one batch size and number of threads.

    ``protocol`` names how it was taken; ``paired`` is that of ``sparsebench.timing``. ``median_ms`` is the median over
    rounds of the median call of a block; ``p95_ms`` and ``p99_ms`` are percentiles of all ``calls`` latencies, each of
    a single call where ``calls_together`` is 1; shorter calls than 0.1 ms are timed several together, and each latency
    is their mean. ``against`` is the comparison with the dense fp32 network of the same backend, ``against_eager`` with
    that of eager. ``peak_memory_bytes`` is what running the network adds at its peak to the anonymous memory of a
    process in which it is loaded: activations, scratch memory and what its runtime keeps, without the weights as they
    are loaded; None where it was not measured. The raw samples are the stage's
    artifact ``samples.json``.
    """

    kind: Literal["measure"] = "measure"
    protocol: str
    batch_size: int
    threads: int
    calls: int
    calls_together: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    against: RatioResult
    against_eager: RatioResult | None
    session: SessionResult
    peak_memory_bytes: int | None = None

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


Result = Annotated[
    TrainResult | CompressResult | EvaluateResult | MeasureResult | SensitivityResult, Field(discriminator="kind")
]
"""What a stage brought forth; which of them it is, ``kind`` says when a record is read."""


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
    def audited(self) -> tuple[LayerAudit, ...]:
        """The layers of the network that runs, with the MACs of the trained network where it tells none itself.

        A layer keeps its name through quantization as far as the library lets it; MACs that cannot be told are None.
        """
        counted = self._macs_by_name()
        layers = self.compressed.layers if self.compressed else ()
        return tuple(replace(a, macs=counted.get(a.name)) if a.macs is None else a for a in layers)

    @property
    def int8_mac_fraction(self) -> float | None:
        """Share of all multiply-accumulates of one sample that are computed in int8.

        MACs in int8 / all MACs of the network, those of no layer, such as attention, included. None where an int8 layer
        does not tell its MACs or the format it computes in.
        """
        if self.compressed is None or any(a.bits == 8 and not a.computed_in for a in self.compressed.layers):
            return None
        counted = self._macs_by_name()
        macs = [(a.computed_in, counted.get(a.name) if a.macs is None else a.macs) for a in self.compressed.layers]
        in_int8 = [count for computed_in, count in macs if computed_in == "int8"]
        known = [count for count in in_int8 if count is not None]
        every = max((self.trained and self.trained.macs) or 0, sum(count or 0 for _, count in macs))
        return sum(known) / every if every and len(known) == len(in_int8) else None

    def _macs_by_name(self) -> dict[str, int]:
        counted: dict[str, int] = {}
        for row in self.trained.layers if self.trained and self.trained.macs is not None else ():
            # A layer of which pruning may touch one weight and not another has two rows, and its MACs in the first.
            counted[row.name] = counted.get(row.name, 0) + row.macs
        return counted

    @property
    def measured(self) -> tuple[MeasureResult, ...]:
        """The latencies measured, one for each batch size and number of threads."""
        return tuple(r.result for r in self.measure if isinstance(r.result, MeasureResult))


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
        "int8_mac_fraction": trial.int8_mac_fraction,
        "payload_bytes": packed and packed.size.payload_bytes,
        "file_bytes": packed and packed.size.file_bytes,
        "deflated_file_bytes": packed and packed.size.deflated_file_bytes,
        "nonzero_parameters": packed and packed.size.nonzero_parameters,
        "flash_bytes": packed and packed.size.flash_bytes,
        "working_memory_bytes": packed and packed.working_memory_bytes,
        "calibration_batches_asked": point.calibration_batches,
        "calibration_batches": packed and packed.calibration_batches,
        "batch_size": timed and timed.batch_size,
        "threads": timed and timed.threads,
        "latency_median_ms": timed and timed.median_ms,
        "latency_p95_ms": timed and timed.p95_ms,
        "latency_p99_ms": timed and timed.p99_ms,
        "throughput_per_s": timed and timed.throughput_per_s,
        "latency_ratio": timed and timed.against.ratio,
        "latency_ratio_low": timed and timed.against.low,
        "latency_ratio_high": timed and timed.against.high,
        "latency_ratio_eager": timed and timed.against_eager and timed.against_eager.ratio,
        "latency_ratio_eager_low": timed and timed.against_eager and timed.against_eager.low,
        "latency_ratio_eager_high": timed and timed.against_eager and timed.against_eager.high,
        "latency_baseline": timed and timed.against.baseline,
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
