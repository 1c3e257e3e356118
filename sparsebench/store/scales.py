"""What a metric's numbers mean: which way is better, and in what unit."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sparsebench.store.fields import Flag, Text

Name = Annotated[str, Field(max_length=200)]
Digits = Annotated[int, Field(strict=True, ge=0, le=12)]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The scale of a metric.

    Attributes:
        metric: its name, as configs and gates have it: ``mean_absolute_error``.
        title: how a sentence calls it: ``mean absolute error``.
        short: how a heading calls it: ``MAE``.
        higher_is_better: its direction.
        share: whether its values are shares: fractions that are read in percent, whose differences are percentage
            points.
        unit: of its values where they are no shares; may be empty.
        digits: decimals of its values, in the unit that is read; None for three or four significant digits.
    """

    metric: Name
    title: Name
    short: Name
    higher_is_better: Flag
    share: Flag = False
    unit: Text = ""
    digits: Digits | None = None

    @property
    def is_accuracy(self) -> bool:
        """Whether it is the share of samples that are classified rightly, the metric where none is named."""
        return self.metric == ACCURACY.metric

    @property
    def factor(self) -> float:
        """What a value is multiplied by to be read."""
        return 100.0 if self.share else 1.0

    @property
    def loss_factor(self) -> float:
        """What a value before minus a value after is multiplied by to be a loss, as it is read; a loss is above 0."""
        return self.factor if self.higher_is_better else -self.factor

    def merit(self, value: float) -> float:
        """Return what is larger for a better value."""
        return value if self.higher_is_better else -value

    @property
    def loss_unit(self) -> str:
        """The unit of a loss: ``pp``, percentage points, of shares; otherwise that of the values."""
        return "pp" if self.share else self.unit

    @property
    def suffix(self) -> str:
        """What the name of a loss ends with in data for programs: ``_pp`` for shares."""
        return "_pp" if self.share else ""


ACCURACY = Scale(metric="accuracy", title="top-1 accuracy", short="top-1", higher_is_better=True, share=True, digits=2)
