"""The base of metrics, and what a metric found."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from numpy import float64
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.store.scales import Scale

Floats = NDArray[float64]

Targets = Literal["classes", "values", "any"]
"""What targets are brought to before a metric sees them: whole numbers, floats, or left as the loader gives them."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a metric found on a split.

    Attributes:
        value: the metric; of a share a fraction.
        samples: how many samples it is of.
        low: lower end of its 95 % interval over other samples; None where it is not known.
        high: the upper end.
        values: those of each sample, (samples,), of which the value is the mean; None for other kinds.
        replicates: the metric over each bootstrap resample, (resamples,); None of a mean.
        units: what was resampled: samples, or groups of them; 0 of a mean.
        note: what a person should know, as a sentence; empty where there is nothing.
    """

    value: float
    samples: int
    low: float | None = None
    high: float | None = None
    values: Floats | None = None
    replicates: Floats | None = None
    units: int = 0
    note: str = ""


class Metric(ABC):
    """What networks are judged by.

    Attributes:
        scale: its direction and unit.
        targets: what targets are brought to before it sees them.
        criterion: the loss that training takes where none is named: a name in ``LOSSES``.
        of_classes: whether it takes what accuracy takes: scores (N, C) with class indices (N,), or one logit for two
            classes. Outputs and targets are then checked as for accuracy.
        takes_structures: whether it takes what a network returns as it is. Others are given the scores in it.
    """

    scale: Scale
    targets: ClassVar[Targets] = "classes"
    criterion: ClassVar[str] = "cross_entropy"
    of_classes: ClassVar[bool] = False
    takes_structures: ClassVar[bool] = False

    def problem(self, outputs: Any, targets: Any) -> str | None:
        """Return why a batch cannot be judged, as a sentence that says what is taken; None where it can.

        It is asked of each batch, before its loss is computed: it should be quick.
        """
        del outputs, targets
        return None

    def for_loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and targets in the form in which losses of torch take them."""
        return outputs, targets

    @abstractmethod
    def kept(self, outputs: Any, targets: Any) -> Any:
        """Return what is kept of a batch of N samples."""

    @abstractmethod
    def measured(self, kept: Sequence[Any]) -> Measured:
        """Return the metric over batches, at least one of them.

        Raises:
            DataError: where they have no such metric.
        """

    def value(self, kept: Sequence[Any]) -> float:
        """Return the metric alone, which is quicker: for the validation after each epoch."""
        return self.measured(kept).value
