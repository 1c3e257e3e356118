"""What each stage brings forth, as its record keeps it.

Every field carries its unit in its name where it has one. Fractions are in [0, 1], never in percent. Nothing is
computed here beyond what follows from one result alone.
"""

import base64
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from sparsebench.store.timings import MeasureResult

COLLAPSED_SPARSITY = 0.995
"""A layer with at least this fraction of zeros counts as collapsed: hardly any signal passes it."""


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
        return _share(self.zeros, self.weights)

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
    are not in the network. ``part`` says where in the file they lay, empty where they were all of it; ``averaged``
    whether they are averages over training (EMA), and ``passed_over`` where the file has those that are not.
    """

    source: str
    sha256: str | None
    tensors: int
    fresh: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    part: str = ""
    averaged: bool = False
    passed_over: str = ""

    @property
    def complete(self) -> bool:
        """Whether it filled the whole network, which then needs no training."""
        return not self.fresh


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A trained network: how it was trained and how sparse it came out.

    ``pruned_by`` is the pruner that the trainer used: its registered name, ``none`` for a dense network, or ``the
    trainer's own way`` where the trainer declares no ``pruner``. ``epoch_samples`` are training samples read in an
    epoch, None for all of them. ``macs`` are multiply-accumulates for one sample, of all that the network computes, and
    ``effective_macs`` those whose weight is not zero; None where they could not be counted. ``structured`` says whether
    channels were removed: weights and parameters are counted as in the dense network all the same, here and in
    ``layers``, and what was removed is among the zeros. ``removed_parameters`` are the prunable weights that went with
    their channels; the other zeros are still in the network. ``loaded`` is the checkpoint that the network was loaded
    from, None where it was trained from nothing or from another of the run; a network that it filled was not trained,
    and its ``epochs`` are 0.
    """

    kind: Literal["train"] = "train"
    trainer: str
    pruned_by: str
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
    macs: int | None = None
    effective_macs: int | None = None
    structured: bool = False
    removed_parameters: int = 0
    loaded: LoadedWeights | None = None

    @property
    def sparsity(self) -> float:
        """Fraction of prunable weights that is zero."""
        return _share(self.prunable_zeros, self.prunable_weights)

    @property
    def total_sparsity(self) -> float:
        """Fraction of all parameters that is zero."""
        return _share(self.parameter_zeros, self.parameters)


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
    """A network after a scheme on a backend: what was really quantized and how large it is.

    ``working_memory_bytes`` is the largest sum of a layer's input and output activations at batch 1, in the widths in
    which the network runs, None where it could not be measured. ``training_epochs`` and ``training_seconds`` are those
    for which the scheme trained the network further (``qat``).
    """

    kind: Literal["compress"] = "compress"
    calibration_batches: int
    calibration_seconds: float
    layers: tuple[LayerAudit, ...]
    size: SizeResult
    working_memory_bytes: int | None = None
    training_epochs: int = 0
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

    @property
    def int8_fraction(self) -> float:
        """Fraction of the weights of all layers that is held in 8 bits."""
        return _share(self.int8_weights, self.weights)


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


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


Result = Annotated[
    TrainResult | CompressResult | EvaluateResult | MeasureResult | SensitivityResult, Field(discriminator="kind")
]
"""What a stage brought forth; which of them it is, ``kind`` says when a record is read."""


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
