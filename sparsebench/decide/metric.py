"""What can be compared between two runs, and how one metric of one group changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparsebench.decide.matching import Group
from sparsebench.points.drops import Limits
from sparsebench.points.latency import Setting
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.wording.numbers import Dimension


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one metric of one group changed; None stands for what is not known.

    Attributes:
        before: mean over seeds: of a run's metric, bytes, MACs, or a speedup over the baseline; ``after`` likewise.
        change: what is lost of the metric, in the unit of its loss, or the relative change as a fraction; that of a
            speedup is below 0 where the network became slower.
        low: lower limit of its 95 % interval; ``high`` the upper one.
        p_value: of "nothing changed". It belongs to the interval: at most 5 % where that leaves 0 out, and only there.
        p_adjusted: the same, adjusted over all groups and settings of this metric (Holm; of speedups Bonferroni, as
            their limits are).
        same: whether nothing at all differs.
        paired: whether the two were compared sample by sample.
        setting: batch size and threads of a speedup.
        said: the verdict on a speedup, FASTER or SLOWER than before.
        noisy: whether a session behind it is NOISY.
        pairs: how many seeds it is of.
        open: why something could not be compared, though both runs measured it.
        over: which interval of an accuracy ``low``, ``high`` and ``p_value`` are: that over ``another training``, or
            for ``these networks`` where there is one seed.
        these_networks: the interval over other test samples alone.
        another_training: that over other trainings, too; None of one seed.
        finds: the smallest loss that would be significant over all groups, in the unit of a loss.
        scale: of the metric that is lost; accuracy for what is no metric.
    """

    before: float | None = None
    after: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    same: bool = False
    paired: bool = False
    setting: Setting | None = None
    said: str = ""
    noisy: bool = False
    pairs: int = 0
    open: str = ""
    over: str = ""
    these_networks: Limits | None = None
    another_training: Limits | None = None
    finds: float | None = None
    scale: Scale = ACCURACY


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
        together: the same changes with what depends on how many of them are judged together: limits and verdicts of
            speedups, the smallest loss that is found; None where nothing does.
    """

    name: str
    dimensions: tuple[Dimension, ...]
    changes: Callable[[Group], Sequence[Change]]
    tested: bool = False
    exact: bool = False
    timed: bool = False
    together: Callable[[Group, int, float], Sequence[Change]] | None = None
