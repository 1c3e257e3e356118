"""What can be compared between two runs, and how one metric of one group changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparsebench.decide.matching import Group
from sparsebench.points.latency import Setting
from sparsebench.wording.numbers import Dimension


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one metric of one group changed; None stands for what is not known.

    ``before`` and ``after`` are means over seeds: a fraction, bytes, MACs, or a speedup over the baseline. ``change``
    is percentage points lost or the relative change as a fraction, that of a speedup below 0 where the network became
    slower, and ``low`` and ``high`` are the limits of its 95 % interval. ``p_value`` is of "nothing changed", and
    ``p_adjusted`` the same, adjusted over all groups and settings of this metric (Holm; of speedups Bonferroni, as
    their limits are). ``paired`` is whether the two were compared sample by sample, ``pairs`` how many seeds it is of.
    A speedup has the batch size and threads as its ``setting``; ``said`` is the verdict on it, FASTER or SLOWER than
    before, and ``noisy`` whether a session behind it is NOISY. ``open`` is why something could not be compared, though
    both runs measured it.
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
    noisy: bool = False
    pairs: int = 0
    open: str = ""


@dataclass(frozen=True)
class Metric:
    """Something that can be compared between runs, and that a gate may name.

    Attributes:
        name: as gates name it.
        dimensions: of the limits that a gate may have.
        changes: how it changed in a group; empty where it was not measured in both runs.
        tested: whether it has an interval and a test; where not, it is known exactly or is an estimate alone.
        exact: whether it is known exactly.
        timed: whether it needs a clock; its changes are those of a speedup.
        together: the same changes with limits that hold for so many of them together, and verdicts that are read off
            them; None where p-values are adjusted.
    """

    name: str
    dimensions: tuple[Dimension, ...]
    changes: Callable[[Group], Sequence[Change]]
    tested: bool = False
    exact: bool = False
    timed: bool = False
    together: Callable[[Group, int, float], Sequence[Change]] | None = None
