"""The exact selection of the smallest magnitudes over many tensors at once.

A strided sample of the magnitudes brackets the one sought. One pass counts those below the bracket and gathers the few
in it, among which the exact one is found; a second pass writes the zeros. Where the sample misled, the bracket is
moved or halved and the pass repeated: luck decides about time only.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from sparsebench.pruning.magnitude_pool import Candidates, MagnitudePool

_FEW = 1 << 14
"""Up to so many magnitudes are ordered directly; a sample would cost more than it saves."""

_MANY = 1 << 16
"""At least so many elements may be gathered, and never fewer than half of all."""

_SAMPLE_SCALE = 2
"""Of n magnitudes this times n^(2/3) are sampled: sorting them costs about what their bracket's candidates cost."""

_SPREADS = (2.5, 10.0, 40.0)
"""Half the widths of brackets, in standard deviations of a rank estimated from a sample; then what is known is halved.
The first one misses once in eighty times, which costs less than the candidates of a wider one."""

_GUESSED_AT_LEAST = 0.001
"""Fraction of all magnitudes in the narrowest bracket that is guessed from earlier calls."""

_GUESSED_AT_MOST = 0.02
"""Fraction of all magnitudes in a guessed bracket above which a sample is drawn instead."""

_MARGIN = 3
"""Half the width of a guessed bracket, in errors of the guess before."""


class NotFiniteError(ValueError):
    """The tensor ``index`` of those given holds NaN or infinity, so its magnitudes have no order."""

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(f"tensor {index} holds NaN or infinity")


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
    Selector().zero_smallest(parameters, count)


class Selector:
    """``zero_smallest`` for repeated calls on the same tensors, as in training; only its time depends on earlier calls.

    A training step moves the magnitude of a rank little, so the earlier calls tell better than a sample where it is.
    """

    def __init__(self) -> None:
        self._known: list[int] = []  # The last two magnitudes found, as bit patterns, the later one last.
        self._width = 0.0  # Bit patterns on either side of the magnitude expected.
        self._cost = 1.0  # Fraction of the magnitudes in such a bracket.

    @torch.no_grad()
    def zero_smallest(self, parameters: Sequence[Tensor], count: int) -> None:
        """Set the ``count`` elements of smallest magnitude to zero in place; see the function of this name."""
        if count <= 0:
            return
        total = sum(parameter.numel() for parameter in parameters)
        if count > total:
            raise ValueError(f"{count} of {total} elements cannot be set to zero.")
        dense = [parameter if _is_dense(parameter) else parameter.contiguous() for parameter in parameters]
        # In the order of memory, which is what can be read fast; rows matter for ties only.
        flats = [tensor.as_strided((tensor.numel(),), (1,)) for tensor in dense]
        pool = MagnitudePool(flats)
        kth = _kth_smallest(pool, count, self)
        if kth is None:
            raise NotFiniteError(next(i for i, flat in enumerate(flats) if not bool(torch.isfinite(flat).all())))
        if kth.bits == 0:
            return
        _shrink(dense, flats, pool, kth, count - kth.below)
        for parameter, tensor in zip(parameters, dense, strict=True):
            if tensor is not parameter:
                parameter.copy_(tensor)

    def guess(self) -> tuple[int, int] | None:
        """Return a narrow bracket for the next magnitude; None where a sample would do better."""
        if len(self._known) < 2 or self._cost > _GUESSED_AT_MOST:
            return None
        return math.floor(self._expected - self._width), math.ceil(self._expected + self._width)

    def learn(self, bits: int, patterns_per_element: float, numel: int) -> None:
        """Take in the magnitude found, and how many bit patterns there are for one magnitude near it.

        The width follows the error that extrapolation had, so that it adapts to how fast training moves the weights.
        """
        error = abs(bits - self._expected) if self._known else 0
        least = patterns_per_element * numel * _GUESSED_AT_LEAST / 2
        self._width = max(least, _MARGIN * error, self._width / 2)
        self._cost = 2 * self._width / (patterns_per_element * numel)
        self._known = [*self._known[-1:], bits]

    @property
    def _expected(self) -> int:
        # As if the bit patterns went on as they did between the last two.
        return 2 * self._known[-1] - self._known[0]


@dataclass(frozen=True)
class _Kth:
    """The bit pattern of the magnitude of a given rank, and how many are smaller and how many equal it."""

    bits: int
    below: int
    equal: int
    candidates: Candidates | None  # Gathered around it, all that equal it among them; None where only counted.


def _kth_smallest(pool: MagnitudePool, rank: int, selector: Selector) -> _Kth | None:
    """Return the magnitude of the given rank, from 1, in a pool; None where the pool holds NaN or infinity."""
    first, last = 0, pool.infinity - 1  # The magnitude sought is known to be in [first, last].
    gather_at_most = max(pool.numel // 2, _MANY)
    proposals = _proposals(pool, rank, selector)
    crowded = False
    while True:
        low, high = (None if crowded else next(proposals, None)) or (first, (first + last) // 2)
        low, high = max(low, first), min(high, last)
        if low > high:
            continue
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
            first, last, crowded = low, high, True
        else:
            found = tally.candidates.bits
            bits = int(torch.kthvalue(found, rank - tally.below).values)
            smaller, up_to = torch.stack([(found < bits).sum(), (found <= bits).sum()]).tolist()
            selector.learn(bits, (high - low) / tally.inside, pool.numel)
            return _Kth(bits, tally.below + smaller, up_to - smaller, tally.candidates)


def _proposals(pool: MagnitudePool, rank: int, selector: Selector) -> Iterator[tuple[int, int]]:
    """Yield brackets for the magnitude of a rank, the most promising first; none of them need hold it."""
    if pool.numel <= _FEW:
        yield 0, pool.infinity - 1
        return
    if guessed := selector.guess():
        yield guessed
    # Layers are made of multiples of small numbers; a prime stride does not fall into step with them.
    sample = pool.sample(_next_prime(round(pool.numel ** (1 / 3) / _SAMPLE_SCALE)))
    for spread in _SPREADS:
        yield _bracket(sample, rank / pool.numel, spread, pool.infinity - 1)


def _bracket(sample: Tensor, quantile: float, spread: float, top: int) -> tuple[int, int]:
    """Return a bracket in which a quantile of a sorted sample lies, with luck, and few magnitudes up to ``top`` do.

    Half its width is ``spread`` standard deviations of the quantile's rank in an independent sample.
    """
    size = len(sample)
    margin = spread * math.sqrt(size * quantile * (1 - quantile)) + 2
    left, right = math.floor(quantile * size - margin), math.ceil(quantile * size + margin)
    indices = torch.tensor([left, left + 1, round(quantile * size), right - 1, right], device=sample.device)
    low, above_low, middle, below_high, high = sample[indices.clamp_(0, size - 1)].tolist()
    low, high = (low if left >= 0 else 0), (high if right < size else top)
    if middle in (low, high):
        return middle, middle
    # A value that repeats in the sample is a crowd, zeros for example, that ends just inside the bracket.
    return low + (low == above_low), high - (high == below_high)


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
    number = max(number, 2)
    while any(number % divisor == 0 for divisor in range(2, math.isqrt(number) + 1)):
        number += 1
    return number
