"""Random pruning: the baseline that a way of choosing weights must beat."""

import zlib
from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor, nn

from sparsebench.errors import PruningError
from sparsebench.pruning.base import WeightPruner
from sparsebench.pruning.selection import zero_smallest
from sparsebench.pruning.weights import PrunableWeight


class Random(WeightPruner):
    """The pruner ``random``: weights are chosen by chance, once, whatever they learn.

    Every weight gets a rank by chance when its layer is first met, and keeps it: what is pruned at one threshold is
    pruned at every higher one, so that sparsity can grow during training.

    Args:
        include_classifier, keep: as of every ``WeightPruner``.
        proportions: ``global`` draws from all weights alike; ``magnitude`` zeros in each layer as many as global
            magnitude pruning would, and only chooses which by chance.
        seed: which weights chance chooses; None takes the seed that torch's generator was set to last, so that each
            seed of a sweep has a choice of its own.
    """

    def __init__(
        self,
        include_classifier: bool = False,
        keep: Collection[str] = (),
        proportions: Literal["global", "magnitude"] = "global",
        seed: int | None = None,
    ) -> None:
        if proportions not in ("global", "magnitude"):
            raise PruningError(f"proportions is {proportions!r}; it must be 'global' or 'magnitude'.")
        super().__init__(include_classifier, keep)
        self.proportions = proportions
        self.seed = torch.initial_seed() if seed is None else seed
        self._ranks: dict[str, Tensor] = {}

    @torch.no_grad()
    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Set the fraction ``threshold`` of the prunable weights to zero, in place.

        Raises:
            PruningError: where the threshold is out of range.
        """
        weights = self.weights_of(net, threshold)
        ranks = [self._rank(weight) for weight in weights]
        count = round(threshold * sum(rank.numel() for rank in ranks))
        scores = [rank.clone() for rank in ranks]
        if self.proportions == "global":
            zero_smallest(scores, count)
        else:
            magnitudes = [weight.values().clone() for weight in weights]
            zero_smallest(magnitudes, count)
            for score, pruned in zip(scores, magnitudes, strict=True):
                zero_smallest([score], int((pruned == 0).sum()))
        for weight, score in zip(weights, scores, strict=True):
            weight.zero(score == 0)
        return net

    def _rank(self, weight: PrunableWeight) -> Tensor:
        # A number in (0, 1] for each element; the smallest are pruned first.
        found = self._ranks.get(weight.name)
        if found is None or found.shape != weight.parameter.shape:
            # Of its own for every layer, so that the choice in one does not depend on which others there are.
            # One number of both: torch's generator on the CPU heeds the lower 32 bits of a seed only.
            generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {weight.name}".encode()))
            drawn = 1 - torch.rand(weight.parameter.shape, generator=generator, dtype=torch.float64)
            found = self._ranks[weight.name] = drawn.to(weight.parameter.device)
        return found
