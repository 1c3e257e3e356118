"""What may be proposed, and which network a proposal is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sparsebench.config import PrunerConfig, SearchConfig
from sparsebench.registry import ONLY_THRESHOLDS, PRUNERS
from sparsebench.search.allocation import moved, odds
from sparsebench.search.plans import Format, Network

KEPT, PRUNER, FORMAT = "kept", "pruner", "format"
"""Names of what is proposed: the share of weights that is kept, the pruner, and the format that a point is told of."""

ODDS = "odds of "
"""Before the name of a group: how far its odds of being pruned are from those that magnitude gives it."""

Proposal = Mapping[str, Any]
"""Values by their names."""

_HIGHEST = 0.999
"""Of a group, so that a signal passes it."""


class Space:
    """Thresholds of groups of layers, pruners and formats.

    A group's threshold is told by how far it is from what the pruner itself would prune there, of the dense network, to
    the same number of zeros. A proposal without any such distance is the pruner itself, as a sweep has it.

    Args:
        search: ranges.
        pruners: those offered, at least one.
        formats: those offered, at least one.
        weights: how many weights each group of layers has, by the pattern that names it.
        alone: what share of each group a pruner zeroes of the dense network by itself, at a threshold.
        reached: the only thresholds that a pruner reaches, by its label; absent where it reaches any.
        lowest: the lowest threshold that is worth a proposal.
    """

    def __init__(
        self,
        search: SearchConfig,
        pruners: Sequence[PrunerConfig],
        formats: Sequence[Format],
        weights: Mapping[str, int],
        alone: Callable[[PrunerConfig, float], Mapping[str, float]],
        reached: Mapping[str, Sequence[float]],
        lowest: float,
    ) -> None:
        self.pruners, self.formats, self.weights = {one.label: one for one in pruners}, list(formats), weights
        self.by_label = {one.label: one for one in formats}
        self._alone, self._reached = alone, reached
        self.thresholds = max(search.thresholds[0], lowest), search.thresholds[1]
        self.spread = search.spread if len(weights) > 1 else 0.0
        self.grouped = [one.label for one in pruners if self.spread and can_be_grouped(one)]

    @property
    def kept(self) -> tuple[float, float]:
        """The least and the most of the weights that may be kept."""
        return 1 - self.thresholds[1], 1 - self.thresholds[0]

    def network(self, proposal: Proposal) -> Network:
        """Return the network that a proposal is."""
        pruner = self.pruners[proposal[PRUNER]]
        threshold = round(1 - proposal[KEPT], 4)
        if only := self._reached.get(pruner.label):
            return Network(pruner, min(only, key=lambda own: abs(own - threshold)))
        offsets = {group: proposal.get(f"{ODDS}{group}", 0.0) for group in self.weights}
        if pruner.label not in self.grouped or not any(offsets.values()):
            return Network(pruner, threshold)
        found = moved(self._alone(pruner, threshold), offsets, self.weights, threshold)
        return Network(grouped(pruner, found), threshold)

    def proposal(self, pruner: PrunerConfig, threshold: float, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """Return what to propose for thresholds of groups, which are moved into the range that may be proposed.

        Args:
            pruner: one of those offered.
            threshold: of all weights together.
            thresholds: of each group; empty for what the pruner does by itself.
        """
        low, high = self.kept
        found: dict[str, Any] = {PRUNER: pruner.label, KEPT: min(high, max(low, 1 - threshold))}
        if pruner.label in self.grouped:
            before = self._alone(pruner, threshold) if thresholds else {}
            for group in self.weights:
                far = odds(thresholds[group]) - odds(before[group]) if thresholds else 0.0
                found[f"{ODDS}{group}"] = min(self.spread, max(-self.spread, far))
        return found


def can_be_grouped(pruner: PrunerConfig) -> bool:
    """Whether a pruner chooses single weights, to any threshold, so that groups may have thresholds of their own."""
    return (
        pruner.name != "by_group"
        and pruner.name not in ONLY_THRESHOLDS
        and not getattr(PRUNERS.load(pruner.name), "structured", False)
    )


def grouped(pruner: PrunerConfig, thresholds: Mapping[str, float]) -> PrunerConfig:
    """Return the pruner that zeroes by another one within groups, each to a threshold of its own."""
    own = {group: round(min(_HIGHEST, threshold), 3) for group, threshold in thresholds.items()}
    options: dict[str, Any] = {"thresholds": own}
    if pruner.name != "magnitude":
        options["pruner"] = pruner.name
    if pruner.options:
        options["options"] = pruner.options
    return PrunerConfig(name="by_group", options=options)
