"""The exact selection of the smallest magnitudes over many tensors at once.

A strided sample of the magnitudes brackets the one sought. One pass counts those below the bracket and gathers the few
in it, among which the exact one is found; a second pass writes the zeros. Where the sample misled, the bracket is
moved or halved and the pass repeated: luck decides about time only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from itertools import count as attempts

import torch
from torch import Tensor

from sparsebench.pruning.magnitude_pool import Candidates, MagnitudePool

_FEW = 1 << 14
"""Up to so many magnitudes are ordered directly; a sample would cost more than it saves."""

_MANY = 1 << 16
"""At least so many elements may be gathered, and never fewer than half of all."""

_SPREAD = 3.0
"""Half the width of the first bracket, in standard deviations of a rank estimated from the sample."""

_SAMPLED_BRACKETS = 3
"""Brackets taken from the sample, each four times as wide as the one before, until what is known is halved instead."""


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
        ValueError: where ``count`` is above the number of elements.
    """
    if count <= 0:
        return
    total = sum(parameter.numel() for parameter in parameters)
    if count > total:
        raise ValueError(f"{count} of {total} elements cannot be set to zero.")
    dense = [parameter if _is_dense(parameter) else parameter.contiguous() for parameter in parameters]
    # In the order of memory, which is what can be read fast; rows matter for ties only.
    flats = [tensor.as_strided((tensor.numel(),), (1,)) for tensor in dense]
    pool = MagnitudePool(flats)
    kth = _kth_smallest(pool, count)
    if kth is None:
        raise NotFiniteError(next(i for i, flat in enumerate(flats) if not bool(torch.isfinite(flat).all())))
    if kth.bits == 0:
        return
    _shrink(dense, flats, pool, kth, count - kth.below)
    for parameter, tensor in zip(parameters, dense, strict=True):
        if tensor is not parameter:
            parameter.copy_(tensor)


@dataclass(frozen=True)
class _Kth:
    """The magnitude of a given rank in a pool.

    Attributes:
        bits: its bit pattern.
        below: number of smaller magnitudes.
        equal: number of magnitudes that equal it.
        candidates: magnitudes gathered around it, all that equal it among them; None where they were only counted.
    """

    bits: int
    below: int
    equal: int
    candidates: Candidates | None


def _kth_smallest(pool: MagnitudePool, rank: int) -> _Kth | None:
    """Return the magnitude of the given rank, from 1, in a pool; None where the pool holds NaN or infinity."""
    first, last = 0, pool.infinity - 1  # The magnitude sought is known to be in [first, last].
    gather_at_most = max(pool.numel // 2, _MANY)
    sample = _Sample(pool) if pool.numel > _FEW else None
    halve = False
    for attempt in attempts():
        if halve or attempt >= _SAMPLED_BRACKETS:
            low, high = first, (first + last) // 2
        elif sample is None:
            low, high = first, last
        else:
            low, high = sample.bracket(rank / pool.numel, _SPREAD * 4**attempt, first, last)
        tally = pool.tally(low, high, gather_at_most if low < high else 0)
        if tally.largest >= pool.infinity:
            return None
        if rank <= tally.below:
            last = low - 1
        elif rank > tally.below + tally.inside:
            first = high + 1
        elif low == high:
            return _Kth(low, tally.below, tally.inside, None)
        elif tally.candidates is None:
            first, last, halve = low, high, True
        else:
            return _kth_of_candidates(tally.candidates, tally.below, rank, pool.dtype)
    raise AssertionError("unreachable: each attempt narrows what is known")


def _kth_of_candidates(candidates: Candidates, below: int, rank: int, dtype: torch.dtype) -> _Kth:
    """Return the magnitude of the given rank in a pool, from those gathered above ``below`` smaller ones."""
    if len(candidates.bits) <= _FEW:
        bits = int(torch.kthvalue(candidates.bits, rank - below).values)
    else:
        kth = _kth_smallest(MagnitudePool([candidates.bits.view(dtype)]), rank - below)
        assert kth is not None  # noqa: S101 - no candidate is NaN or infinite: brackets end below
        bits = kth.bits
    smaller, up_to = torch.stack([(candidates.bits < bits).sum(), (candidates.bits <= bits).sum()]).tolist()
    return _Kth(bits, below + smaller, up_to - smaller, candidates)


class _Sample:
    """Some magnitudes of a pool in order, from which brackets for any rank are read."""

    def __init__(self, pool: MagnitudePool) -> None:
        # Of n magnitudes n^(2/3) make sorting them and ordering the candidates of their bracket cost about the same.
        # Layers are made of multiples of small numbers; a prime stride does not fall into step with them.
        self._sorted = pool.sample(_next_prime(round(pool.numel ** (1 / 3))))

    def bracket(self, quantile: float, spread: float, first: int, last: int) -> tuple[int, int]:
        """Return a bracket within ``[first, last]`` in which the quantile lies, with luck, and few magnitudes do.

        Args:
            quantile: rank sought divided by the number of magnitudes.
            spread: half the width, in standard deviations of the quantile's rank in an independent sample.
            first: smallest bit pattern that may be sought.
            last: largest bit pattern that may be sought.
        """
        size = len(self._sorted)
        margin = spread * math.sqrt(size * quantile * (1 - quantile)) + 2
        left, right = math.floor(quantile * size - margin), math.ceil(quantile * size + margin)
        centre = round(quantile * size)
        indices = torch.tensor([left, left + 1, centre, right - 1, right], device=self._sorted.device)
        low, above_low, middle, below_high, high = self._sorted[indices.clamp(0, size - 1)].tolist()
        low, high = (low if left >= 0 else first), (high if right < size else last)
        if low == middle or middle == high:
            low = high = middle
        else:
            # A value that repeats in the sample is a crowd, zeros for example, that ends just inside the bracket.
            low += low == above_low
            high -= high == below_high
        low, high = max(low, first), min(high, last)
        return (low, high) if low <= high else (first, last)


def _shrink(dense: Sequence[Tensor], flats: Sequence[Tensor], pool: MagnitudePool, kth: _Kth, taken: int) -> None:
    """Set all elements below a magnitude, and the first ``taken`` that equal it, to zero in place."""
    ends = list(accumulate(flat.numel() for flat in flats))
    boundary = len(flats)
    if taken < kth.equal:
        candidates = kth.candidates or pool.tally(kth.bits, kth.bits, pool.numel + _MANY).candidates
        assert candidates is not None  # noqa: S101 - there was room for all
        ties = candidates.positions_of(kth.bits)
        before = torch.searchsorted(ties, torch.tensor([0, *ends], device=ties.device)).tolist()
        boundary = next(i for i, up_to in enumerate(before[1:]) if up_to > taken)
    through, beneath = pool.value(kth.bits), pool.value(kth.bits - 1)
    for i, flat in enumerate(flats):
        torch.hardshrink(flat, _at_most(through if i < boundary else beneath, flat.dtype), out=flat)
    if boundary < len(flats):
        start, end = before[boundary], before[boundary + 1]
        own = ties[start:end] - (ends[boundary] - flats[boundary].numel())
        order = _row_major(own, dense[boundary]).argsort()
        flats[boundary][own[order[: taken - start]].to(flats[boundary].device)] = 0


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill a piece of memory without gaps or overlaps, in any order of dimensions."""
    if tensor.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _row_major(places: Tensor, tensor: Tensor) -> Tensor:
    """Return the row-major indices of elements of a dense tensor, given their places in memory."""
    indices = torch.zeros_like(places)
    for stride, size in zip(tensor.stride(), tensor.shape, strict=True):
        indices = indices * size + places // stride % size
    return indices


def _at_most(value: float, dtype: torch.dtype) -> float:
    """Return the largest number of a precision that is not above ``value``, a finite number at or above 0."""
    rounded = torch.tensor(value, dtype=dtype)
    if rounded.item() <= value:
        return rounded.item()
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    return (rounded.view(integer) - 1).view(dtype).item()


def _next_prime(number: int) -> int:
    """Return the smallest prime number at or above ``number``."""
    number = max(number, 2)
    while any(number % divisor == 0 for divisor in range(2, math.isqrt(number) + 1)):
        number += 1
    return number
