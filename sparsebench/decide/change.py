"""The change of one metric from one run to another."""

from dataclasses import dataclass

from sparsebench.points.latency import Setting
from sparsebench.wording.text import counted


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one metric of one group changed.

    Attributes:
        before: the value in the first run, a mean over seeds; a fraction, bytes, MACs, or a ratio to the baseline.
        after: the same in the second.
        change: what limits are compared with: percentage points lost, or the relative change as a fraction.
        low: lower limit of its 95 % interval, None where it has none.
        high: upper limit.
        p_value: of "nothing changed", None where it is not tested.
        p_adjusted: the same, adjusted (Holm) over all groups and settings of this metric.
        paired: whether the two were compared sample by sample.
        setting: the batch size and threads of a latency.
        said: the verdict on a latency; empty for other metrics.
        pairs: how many seeds it is of.
        open: why it could not be compared, though both runs measured it; empty where it was.
    """

    before: float | None = None
    after: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    paired: bool = False
    setting: Setting | None = None
    said: str = ""
    pairs: int = 0
    open: str = ""


def setting_text(setting: Setting | None) -> str:
    """Return a batch size and number of threads as they stand behind a metric; empty where there are none."""
    return f" at batch {setting[0]}, {counted(setting[1], 'thread')}" if setting else ""
