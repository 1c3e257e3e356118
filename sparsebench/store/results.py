"""What each stage brings forth, as its record keeps it.

Every field carries its unit in its name where it has one. Fractions are in [0, 1], never in percent. Nothing is
computed here beyond what follows from one result alone.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from sparsebench.store.bits import pack_bits as pack_bits
from sparsebench.store.bits import unpack_bits as unpack_bits
from sparsebench.store.evaluations import EvaluateResult as EvaluateResult
from sparsebench.store.evaluations import Score as Score
from sparsebench.store.evaluations import SensitivityPoint as SensitivityPoint
from sparsebench.store.evaluations import SensitivityResult as SensitivityResult
from sparsebench.store.fields import (
    LEFT_OUT,
    Bits,
    Count,
    Finite,
    Flag,
    Fraction,
    Key,
    NotNegative,
    Small,
    Text,
    Told,
    ToldFraction,
)
from sparsebench.store.timings import MeasureResult

COLLAPSED_SPARSITY = 0.995
"""A layer with at least this fraction of zeros counts as collapsed: hardly any signal passes it."""


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """Weights and zeros of one layer of the trained network; ``prunable`` says whether pruning may touch it.

    ``macs`` are its multiply-accumulates for one sample, ``effective_macs`` those whose weight is not zero; both are 0
    where the layer does not run or the network could not be counted.
    """

    name: Text
    kind: Text
    weights: Count
    zeros: Count
    prunable: Flag
    macs: Count = 0
    effective_macs: Count = 0

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
    """One epoch of training. ``threshold`` is the fraction of zeros reached at its end.

    ``val_metric`` is the run's metric on the validation split where it is another than accuracy.
    """

    epoch: Small
    train_loss: Told
    val_loss: Told
    val_accuracy: ToldFraction
    threshold: ToldFraction
    val_metric: Annotated[Told, LEFT_OUT] = None


@dataclass(frozen=True, kw_only=True)
class LoadedWeights:
    """The checkpoint that a dense network was loaded from.

    ``source`` is the path or the name in the config, ``sha256`` the digest of the file, None where a library published
    it. ``tensors`` were filled; those in ``fresh`` kept the values that they were built with, those in ``unexpected``
    are not in the network. ``part`` says where in the file they lay, empty where they were all of it; ``averaged``
    whether they are averages over training (EMA), and ``passed_over`` where the file has those that are not.
    """

    source: Text
    sha256: Key | None
    tensors: Count
    fresh: tuple[Text, ...] = ()
    unexpected: tuple[Text, ...] = ()
    part: Text = ""
    averaged: Flag = False
    passed_over: Text = ""

    @property
    def complete(self) -> bool:
        """Whether it filled the whole network, which then needs no training."""
        return not self.fresh


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A trained network: how it was trained and how sparse it came out.

    ``pruned_by`` is the pruner that the trainer used: its registered name, ``none`` for a dense network, or ``the
    trainer's own way`` where the trainer declares no ``pruner``. ``train_samples``, ``val_samples`` and
    ``test_samples`` are the sizes of the splits; ``epoch_samples`` are the training samples that were read in an epoch,
    ``validated_samples`` those of the validation split that were read at once; None where nothing was read or it is not
    known, as in older records. ``macs`` are multiply-accumulates for one sample, of all that the network computes, and
    ``effective_macs`` those whose weight is not zero; None where they could not be counted. ``structured`` says whether
    channels were removed: weights and parameters are counted as in the dense network all the same, here and in
    ``layers``, and what was removed is among the zeros. ``removed_parameters`` are the prunable weights that went with
    their channels; the other zeros are still in the network. ``loaded`` is the checkpoint that the network was loaded
    from, None where it was trained from nothing or from another of the run; a network that it filled was not trained,
    and its ``epochs`` are 0. ``val_metric`` is the run's metric on the validation split, of the best epoch, where it is
    another than accuracy.
    """

    kind: Literal["train"] = "train"
    trainer: Text
    pruned_by: Text
    train_samples: Count
    val_samples: Count
    test_samples: Count
    classes: Small
    input_shape: tuple[Small, ...]
    epochs: Small
    best_epoch: Small | None
    val_accuracy: Fraction | None
    history: tuple[EpochRecord, ...]
    asked_sparsity: Fraction
    prunable_weights: Count
    prunable_zeros: Count
    parameters: Count
    parameter_zeros: Count
    layers: tuple[LayerSparsity, ...]
    samples_per_second: NotNegative
    epoch_samples: Count | None = None
    validated_samples: Count | None = None
    macs: Count | None = None
    effective_macs: Count | None = None
    structured: Flag = False
    removed_parameters: Count = 0
    loaded: LoadedWeights | None = None
    val_metric: Annotated[Finite | None, LEFT_OUT] = None

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

    name: Text
    kind: Text
    weights: Count
    zeros: Count
    bits: Bits
    reason: Text
    computed_in: Text = ""
    macs: Count | None = None


@dataclass(frozen=True, kw_only=True)
class SizeResult:
    """How large a network is. All but the flash estimate are measured on its state dict.

    ``deflated_file_bytes`` is the saved file after DEFLATE (level 9): the only one that unstructured zeros shrink.
    ``flash_bytes`` estimates a store of non-zero weights alone: non-zero × bits / 8, without indices.
    """

    payload_bytes: Count
    file_bytes: Count
    deflated_file_bytes: Count
    nonzero_parameters: Count
    flash_bytes: Count


@dataclass(frozen=True, kw_only=True)
class MicrocontrollerResult:
    """What a network takes on a microcontroller, as an interpreter for such measured it; None where it is withheld.

    ``flash_bytes`` is its file, without the interpreter; ``arena_bytes`` all memory that one sample takes. The pruned
    ones are those of the encoding by a bit for each weight and the weights that are not zero, where that is smaller.
    ``withheld`` says why something is not told.
    """

    flash_bytes: Count | None = None
    arena_bytes: Count | None = None
    pruned_flash_bytes: Count | None = None
    pruned_arena_bytes: Count | None = None
    withheld: Text = ""


@dataclass(frozen=True, kw_only=True)
class CompressResult:
    """A network after a scheme on a backend: what was really quantized and how large it is.

    ``live_activation_bytes`` is the peak of the activations that are live at the same time at batch 1, in the widths in
    which the network runs; None where it could not be measured, and in records of earlier versions, which looked at one
    layer at a time. ``training_epochs`` and ``training_seconds`` are those for which the scheme trained the network
    further (``qat``).
    """

    kind: Literal["compress"] = "compress"
    calibration_batches: Small
    calibration_seconds: NotNegative
    layers: tuple[LayerAudit, ...]
    size: SizeResult
    live_activation_bytes: Count | None = None
    training_epochs: Small = 0
    training_seconds: NotNegative = 0.0
    microcontroller: Annotated[MicrocontrollerResult | None, LEFT_OUT] = None

    @property
    def working_memory_bytes(self) -> int | None:
        """Memory that the network needs to run, besides its weights."""
        return self.live_activation_bytes

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


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


Result = Annotated[
    TrainResult | CompressResult | EvaluateResult | MeasureResult | SensitivityResult, Field(discriminator="kind")
]
"""What a stage brought forth; which of them it is, ``kind`` says when a record is read."""
