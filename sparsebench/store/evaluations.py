"""What an evaluation brings forth, as its record keeps it: accuracy, or another metric.

Fractions are in [0, 1], never in percent. Nothing is computed here beyond what follows from one result alone.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from numpy import float64
from numpy.typing import NDArray

from sparsebench.store.bits import unpack_bits
from sparsebench.store.fields import LEFT_OUT, Base64, Count, Finite, Fraction, Samples, Small, Text
from sparsebench.store.floats import unpack_floats
from sparsebench.store.scales import ACCURACY, Scale


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a metric other than accuracy found on a split.

    ``low`` and ``high`` are its 95 % interval over other samples, None where the trainer left nothing to tell it from.

    What paired comparisons need is one of two things. ``values`` are those of each sample, in order, of which ``value``
    is the mean. ``replicates`` are values of the metric over ``resamples`` bootstrap resamples of the ``units``
    (samples, or groups of them), which are the same resamples for each network that read as many units. Both are
    packed by ``pack_floats``.
    """

    scale: Scale
    value: Finite
    low: Finite | None = None
    high: Finite | None = None
    values: Base64 | None = None
    replicates: Base64 | None = None
    resamples: Small = 0
    units: Samples = 0


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """A metric on a split, read once: on ``test``, which reports speak of, or on ``val``, which choices are made by.

    ``split`` is what was really read: ``other`` where the trainer was lent the validation split and read samples of its
    own choice instead.

    The metric is accuracy, ``top1`` with its interval, unless ``score`` says another.

    ``correct_bits`` holds, for every sample in order, whether it was classified rightly (see ``pack_bits``); it is
    None where the trainer does not tell, and accuracy differences are then unpaired.

    ``largest_class_share`` is the share of samples that went to the class predicted most, ``balanced_accuracy`` the
    mean over classes of the share of their samples that is recognised, ``worst_class_recall`` the least of these; None
    in older records, and where outputs are no scores of classes.
    """

    kind: Literal["evaluate"] = "evaluate"
    split: Literal["test", "val", "other"] = "test"
    samples: Samples
    top1: Fraction | None = None
    top1_low: Fraction | None = None
    top1_high: Fraction | None = None
    top5: Fraction | None = None
    correct_bits: Base64 | None = None
    largest_class_share: Fraction | None = None
    balanced_accuracy: Fraction | None = None
    worst_class_recall: Fraction | None = None
    score: Annotated[Score | None, LEFT_OUT] = None

    @property
    def scale(self) -> Scale:
        """What its value means."""
        return self.score.scale if self.score else ACCURACY

    @property
    def value(self) -> float:
        """The metric; of a share a fraction. NaN where there is none, which no record that is believed has."""
        found = self.score.value if self.score else self.top1
        return float("nan") if found is None else found

    @property
    def low(self) -> float | None:
        """Lower end of its 95 % interval over other samples."""
        return self.score.low if self.score else self.top1_low

    @property
    def high(self) -> float | None:
        """Upper end of it."""
        return self.score.high if self.score else self.top1_high

    @property
    def predicts_one_class(self) -> bool:
        """Whether all samples went to one class, as far as the record tells it."""
        return self.largest_class_share == 1.0

    @property
    def correct(self) -> tuple[bool, ...] | None:
        """Per-sample correctness in the order of the split, or None where the trainer did not leave it."""
        return None if self.correct_bits is None else unpack_bits(self.correct_bits, self.samples)

    @property
    def values(self) -> NDArray[float64] | None:
        """The metric of each sample in the order of the split, (N,), where it is their mean and no accuracy."""
        packed = self.score.values if self.score else None
        return None if packed is None else unpack_floats(packed, self.samples)

    @property
    def replicates(self) -> NDArray[float64] | None:
        """The metric over each bootstrap resample, (resamples,), where it is no mean over samples."""
        packed = self.score.replicates if self.score else None
        return None if packed is None or self.score is None else unpack_floats(packed, self.score.resamples)


@dataclass(frozen=True, kw_only=True)
class SensitivityPoint:
    """Validation accuracy after one layer alone was pruned to ``threshold``, without training.

    ``metric`` is the run's metric where it is another than accuracy.
    """

    layer: Text
    kind: Text
    weights: Count
    threshold: Fraction
    accuracy: Fraction | None = None
    metric: Annotated[Finite | None, LEFT_OUT] = None

    @property
    def value(self) -> float:
        """The run's metric, accuracy or another."""
        found = self.accuracy if self.metric is None else self.metric
        return float("nan") if found is None else found


@dataclass(frozen=True, kw_only=True)
class SensitivityResult:
    """How much each layer of a dense network minds being pruned; accuracies are of the validation split.

    ``scale`` and ``dense_metric`` are of the run's metric where it is another than accuracy.
    """

    kind: Literal["sensitivity"] = "sensitivity"
    samples: Samples
    dense_accuracy: Fraction | None = None
    points: tuple[SensitivityPoint, ...]
    scale: Annotated[Scale | None, LEFT_OUT] = None
    dense_metric: Annotated[Finite | None, LEFT_OUT] = None

    @property
    def dense_value(self) -> float:
        """The run's metric of the dense network, accuracy or another."""
        found = self.dense_accuracy if self.dense_metric is None else self.dense_metric
        return float("nan") if found is None else found
