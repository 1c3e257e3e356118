"""The exact selection of the smallest magnitudes over many tensors at once."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor


class NotFiniteError(ValueError):
    """A tensor holds NaN or infinity, so its magnitudes have no order.

    Attributes:
        index: which of the tensors given.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(f"tensor {index} holds NaN or infinity")


@torch.no_grad()
def zero_smallest(parameters: Sequence[Tensor], count: int) -> None:
    """Set the ``count`` elements of smallest magnitude, over all tensors together, to zero in place.

    Elements that are zero already count among the smallest. Among equal magnitudes the first ones are taken, in the
    order of the tensors and of their row-major indices, whatever their memory layout.

    Args:
        parameters: floating-point tensors of any shapes, layouts, precisions and devices; none twice.
        count: how many elements, from 0 to the number of all elements.

    Raises:
        NotFiniteError: where a tensor holds NaN or infinity; nothing has been changed then.
    """
    if count <= 0:
        return
    magnitudes, blocks = _magnitudes(parameters)
    # The maximum is NaN where anything is NaN and infinite where anything is infinite: one pass tells.
    if not bool(torch.isfinite(magnitudes.max())):
        raise NotFiniteError(next(i for i, block in enumerate(blocks) if not bool(torch.isfinite(block).all())))
    mask = _smallest(magnitudes, count)
    if mask is None:
        return
    ends = list(accumulate(parameter.numel() for parameter in parameters))
    for parameter, end in zip(parameters, ends, strict=True):
        own = mask[end - parameter.numel() : end].view(parameter.shape)
        parameter.masked_fill_(own.to(parameter.device), 0)


def _magnitudes(parameters: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the magnitudes of all elements as one vector, and its block for each tensor."""
    # float32 holds every bfloat16 and float16 exactly, so layers of different precisions can be compared in it.
    wide = any(parameter.dtype == torch.float64 for parameter in parameters)
    sizes = [parameter.numel() for parameter in parameters]
    vector = torch.empty(sum(sizes), dtype=torch.float64 if wide else torch.float32, device=parameters[0].device)
    blocks = torch.split(vector, sizes)
    for block, parameter in zip(blocks, parameters, strict=True):
        block.view(parameter.shape).copy_(parameter)
    return vector.abs_(), blocks


def _smallest(magnitudes: Tensor, count: int) -> Tensor | None:
    """Return the mask of the ``count`` smallest elements of a vector, or None where all of them are zero already."""
    largest_taken = torch.kthvalue(magnitudes, count).values
    if not bool(largest_taken):
        return None
    mask = magnitudes <= largest_taken
    surplus = int(mask.sum()) - count
    if surplus > 0:
        ties = (magnitudes == largest_taken).nonzero().squeeze(1)
        mask[ties[-surplus:]] = False
    return mask
