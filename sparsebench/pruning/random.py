"""Random pruning: the baseline that a way of choosing weights must beat."""

import warnings
import zlib
from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sparsebench.errors import NoEffectWarning, PruningError
from sparsebench.pruning.base import check_threshold
from sparsebench.pruning.layers import PrunableWeight, prunable_weights
from sparsebench.pruning.magnitude import nothing_prunable
from sparsebench.pruning.selection import zero_smallest

Proportions = Literal["global", "magnitude"]


class Random:
    """The pruner ``random``: weights are chosen by chance, once, whatever they learn.

    Every weight gets a rank by chance when its layer is first met, and keeps it: what is pruned at one threshold is
    pruned at every higher one, so that sparsity can grow during training.

    Args:
        include_classifier: whether the last prunable layer is pruned as well.
        keep: names of layers, or patterns such as ``features.*``, that are not pruned.
        proportions: ``global`` draws from all weights alike; ``magnitude`` zeros in each layer as many as global
            magnitude pruning would, and only chooses which by chance.
        seed: which weights chance chooses; None takes the seed that torch's generator was set to last, so that each
            seed of a sweep has a choice of its own.
    """

    def __init__(
        self,
        include_classifier: bool = False,
        keep: Collection[str] = (),
        proportions: Proportions = "global",
        seed: int | None = None,
    ) -> None:
        if proportions not in ("global", "magnitude"):
            raise PruningError(f"proportions is {proportions!r}; it must be 'global' or 'magnitude'.")
        self.include_classifier = include_classifier
        self.keep = tuple(keep)
        self.proportions = proportions
        self.seed = torch.initial_seed() if seed is None else seed
        self._ranks: dict[str, Tensor] = {}

    @torch.no_grad()
    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Set the fraction ``threshold`` of the prunable weights to zero, in place.

        Raises:
            PruningError: where the threshold is out of range.
        """
        check_threshold(threshold)
        weights = prunable_weights(net, self.include_classifier, self.keep)
        if threshold and not weights:
            warnings.warn(nothing_prunable(net), NoEffectWarning, stacklevel=2)
        if not threshold or not weights:
            return net
        ranks = [self._rank(weight) for weight in weights]
        count = round(threshold * sum(rank.numel() for rank in ranks))
        if self.proportions == "global":
            scores = [rank.clone() for rank in ranks]
            zero_smallest(scores, count)
        else:
            scores = self._as_many_as_magnitude(weights, ranks, count)
        for weight, score in zip(weights, scores, strict=True):
            weight.parameter.masked_fill_(score == 0, 0)
        return net

    def _as_many_as_magnitude(
        self, weights: Sequence[PrunableWeight], ranks: Sequence[Tensor], count: int
    ) -> list[Tensor]:
        """Return the ranks with as many zeros in each tensor as global magnitude pruning would leave there."""
        copies = [weight.parameter.detach().clone() for weight in weights]
        zero_smallest(copies, count)
        scores = []
        for copied, rank in zip(copies, ranks, strict=True):
            score = rank.clone()
            zero_smallest([score], int((copied == 0).sum()))
            scores.append(score)
        return scores

    def _rank(self, weight: PrunableWeight) -> Tensor:
        """Return a number in (0, 1] for each element; the smallest are pruned first."""
        found = self._ranks.get(weight.name)
        if found is None or found.shape != weight.parameter.shape:
            # Of its own for every layer, so that the choice in one does not depend on which others there are.
            # One number of both: torch's generator on the CPU heeds the lower 32 bits of a seed only.
            generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {weight.name}".encode()))
            drawn = 1 - torch.rand(weight.parameter.shape, generator=generator, dtype=torch.float64)
            found = self._ranks[weight.name] = drawn.to(weight.parameter.device)
        return found
