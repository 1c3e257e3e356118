"""N:M pruning: of every M weights in a row, the N largest stay. Some hardware runs 2:4 faster; this only makes it."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from sparsebench.errors import PruningError
from sparsebench.pruning.base import WeightPruner


def thresholds(n: int = 2, m: int = 4) -> tuple[float, ...]:
    """Return the one threshold that N:M pruning reaches, 1 − N/M."""
    _check(n, m)
    return (1 - n / m,)


class NM(WeightPruner):
    """The pruner ``n_m``: in each group of M weights along the inputs, the N largest in magnitude stay.

    Groups lie along the input channels of a convolution and the inputs of a linear or recurrent layer: dimension 1 of
    the weight, as the sparse kernels of GPUs have it. Where their number is no multiple of M, the last, smaller group
    of ``r`` keeps ``ceil(r × N / M)``; a layer with fewer inputs than M (a first convolution) stays dense. The pattern
    is reached gradually: while the threshold asked for is lower, only that share of each tensor's candidates, the
    smallest first, is zero.

    Args:
        include_classifier, keep: as of every ``WeightPruner``.
        n: how many of each group stay, at least 1.
        m: the size of a group, above ``n``.
    """

    def __init__(self, include_classifier: bool = False, keep: Collection[str] = (), n: int = 2, m: int = 4) -> None:
        _check(n, m)
        super().__init__(include_classifier, keep)
        self.n = n
        self.m = m

    @torch.no_grad()
    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Bring the prunable weights nearer to the N:M pattern, in place; at 1 − N/M and above it is complete.

        Raises:
            PruningError: where the threshold is out of range.
        """
        share = min(1.0, threshold / (1 - self.n / self.m))
        for weight in self.weights_of(net, threshold):
            values = weight.values()
            if values.shape[1] >= self.m:
                weight.zero(_smallest_share(values, self._surplus(values), share))
        return net

    def _surplus(self, weight: Tensor) -> Tensor:
        rows = weight.abs().movedim(1, -1)
        whole = rows.shape[-1] // self.m * self.m
        groups = rows[..., :whole].reshape(*rows.shape[:-1], -1, self.m)
        masks = [_not_largest(groups, self.n).flatten(-2)]
        rest = rows.shape[-1] - whole
        if rest:
            masks.append(_not_largest(rows[..., whole:], -(-rest * self.n // self.m)))
        return torch.cat(masks, -1).movedim(-1, 1)


def _not_largest(values: Tensor, stay: int) -> Tensor:
    order = values.argsort(dim=-1, descending=True, stable=True)
    return torch.ones_like(values, dtype=torch.bool).scatter_(-1, order[..., :stay], False)


def _smallest_share(weight: Tensor, candidates: Tensor, share: float) -> Tensor:
    """Return the part of the candidates, the smallest first, that is due at this share of the whole pattern."""
    if share >= 1:
        return candidates
    count = round(share * int(candidates.sum()))
    if count == 0:
        return torch.zeros_like(candidates)
    limit = weight.abs()[candidates].float().kthvalue(count).values
    return candidates & (weight.abs().float() <= limit)


def _check(n: int, m: int) -> None:
    if not (isinstance(n, int) and isinstance(m, int) and 0 < n < m):
        raise PruningError(f"n_m with n = {n!r} and m = {m!r} is not possible; keep n of every m weights, 0 < n < m.")
