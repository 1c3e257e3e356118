"""The magnitudes of many tensors as one sequence of integers, counted and gathered without a copy of them all."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_CPU_BLOCK = 1 << 18
"""Elements handled at once on a CPU: the buffers of one block stay in the second-level caches of two cores."""

_DEVICE_BLOCK = 1 << 26
"""Elements handled at once elsewhere: large, because each block costs kernel launches and a wait."""

_WORD = 8
"""Elements whose one-byte marks make up one int64; most words of marks are zero and are skipped whole."""


@dataclass(frozen=True)
class Candidates:
    """The magnitudes that lie in a bracket, in the order of the pool.

    Attributes:
        bits: their bit patterns, one dimension.
        _marks: where they stand among the words that hold any.
        _words: the place of each of these words in the pool.
    """

    bits: Tensor
    _marks: Tensor
    _words: Tensor

    def positions_of(self, bits: int) -> Tensor:
        """Return the positions in the pool, ascending, of the candidates that equal ``bits``."""
        marks = self._marks[self.bits == bits]
        return self._words[marks // _WORD] * _WORD + marks % _WORD


@dataclass(frozen=True)
class Tally:
    """What one pass over a pool found about a bracket ``[low, high]``.

    Attributes:
        below: number of magnitudes below the bracket.
        inside: number of magnitudes in it; where ``candidates`` is None, counted without them.
        largest: bit pattern of the largest magnitude of all; NaN and infinity are at or above ``MagnitudePool.infinity``.
        candidates: the magnitudes in the bracket; None where none were asked for or they were too many.
    """

    below: int
    inside: int
    largest: int
    candidates: Candidates | None


class MagnitudePool:
    """The magnitudes of many flat tensors, one after the other, as the integers of their bit patterns.

    The bit patterns of floating-point numbers without their signs are ordered as the numbers are, with infinity and
    NaN above all others. Integer arithmetic in place is several times as fast in torch as comparing into booleans, and
    is exact for denormal numbers in every mode of the processor.

    Nothing is kept of the tensors but views. Two buffers of one block are reused, since the page faults of fresh large
    buffers cost more than all the arithmetic.

    Args:
        flats: contiguous floating-point tensors of one dimension, at least one element in all.

    Attributes:
        numel: number of magnitudes.
        infinity: bit pattern of infinity.
    """

    def __init__(self, flats: Sequence[Tensor]) -> None:
        # float32 holds every bfloat16 and float16 exactly, so layers of different precisions can be compared in it.
        wide = any(flat.dtype == torch.float64 for flat in flats)
        self.dtype = torch.float64 if wide else torch.float32
        self.numel = sum(flat.numel() for flat in flats)
        self._integer = torch.int64 if wide else torch.int32
        self._no_sign = torch.iinfo(self._integer).max
        self.infinity = int(torch.tensor(float("inf"), dtype=self.dtype).view(self._integer))
        self._flats = flats
        self._device = flats[0].device
        self._block = min(_CPU_BLOCK if self._device.type == "cpu" else _DEVICE_BLOCK, _whole_words(self.numel))
        self._pieces = _cut(flats, self._block)
        self._bits, self._work = torch.empty((2, self._block), dtype=self._integer, device=self._device)
        self._below, self._marks = torch.zeros((2, self._block), dtype=torch.bool, device=self._device)

    def value(self, bits: int) -> float:
        """Return the magnitude with this bit pattern."""
        return torch.tensor(bits, dtype=self._integer).view(self.dtype).item()

    def sample(self, stride: int) -> Tensor:
        """Return every ``stride``-th magnitude as bit patterns, sorted."""
        picked, start = [], 0
        for flat in self._flats:
            picked.append(self._own(flat[start::stride]))
            start = (start - flat.numel()) % stride
        return torch.cat(picked).view(self._integer).bitwise_and_(self._no_sign).sort().values

    def tally(self, low: int, high: int, gather_at_most: int) -> Tally:
        """Count the magnitudes below and in the bracket ``[low, high]`` and gather the latter, in one pass.

        Args:
            low: smallest bit pattern of the bracket.
            high: largest bit pattern of the bracket.
            gather_at_most: elements, in words that hold a candidate, above which the candidates are only counted.
        """
        counts, largest, gathered = [], [], []
        room = gather_at_most // _WORD
        for number, pieces in enumerate(self._pieces):
            bits = self._load(pieces)
            work, below, marks = (buffer[: len(bits)] for buffer in (self._work, self._below, self._marks))
            largest.append(bits.amax())
            # Comparing in place into integers and narrowing them is three times as fast as comparing into booleans.
            work.copy_(bits).lt_(low)
            counts.append(work.sum(dtype=torch.int32))
            if room >= 0 and gather_at_most:
                below.copy_(work)
            marks.copy_(work.copy_(bits).le_(high))
            counts.append(work.sum(dtype=torch.int32))
            if room >= 0 and gather_at_most:
                marks.bitwise_xor_(below)
                found = self._gather(len(bits), number * (self._block // _WORD))
                room -= len(found[0])
                gathered.append(found)
        below_low, up_to_high = torch.stack(counts).view(-1, 2).sum(0).tolist()
        complete = bool(gather_at_most) and room >= 0
        return Tally(
            below=below_low,
            inside=up_to_high - below_low,
            largest=int(torch.stack(largest).amax()),
            candidates=self._candidates(gathered) if complete else None,
        )

    def _load(self, pieces: Sequence[Tensor]) -> Tensor:
        """Fill the first buffer with the bit patterns of one block and return the part that is filled."""
        bits = self._bits[: sum(piece.numel() for piece in pieces)]
        if len(pieces) == 1 and pieces[0].dtype == self.dtype and pieces[0].device == self._device:
            return torch.bitwise_and(pieces[0].view(self._integer), self._no_sign, out=bits)
        torch.cat([self._own(piece) for piece in pieces], out=bits.view(self.dtype))
        return bits.bitwise_and_(self._no_sign)

    def _own(self, piece: Tensor) -> Tensor:
        """Return a tensor in the precision and on the device of the pool, itself where it is so already."""
        return piece.to(device=self._device, dtype=self.dtype)

    def _gather(self, size: int, offset: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the words of the current block that hold marks: their places, their bit patterns and their marks."""
        end = _whole_words(size)
        self._marks[size:end] = False
        marks = self._marks[:end]
        words = marks.view(torch.int64).nonzero().squeeze(1)
        rows = self._bits[:end].view(-1, _WORD).index_select(0, words)
        return words + offset, rows, marks.view(-1, _WORD).index_select(0, words)

    def _candidates(self, gathered: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Candidates:
        words, rows, marks = (torch.cat(parts) for parts in zip(*gathered, strict=True))
        places = marks.flatten().nonzero().squeeze(1)
        return Candidates(rows.flatten().index_select(0, places), places, words)


def _whole_words(size: int) -> int:
    """Return the number of elements rounded up to whole words."""
    return -(-size // _WORD) * _WORD


def _cut(flats: Sequence[Tensor], block: int) -> list[list[Tensor]]:
    """Cut tensors, laid end to end, into blocks of ``block`` elements; the last one may be shorter."""
    blocks: list[list[Tensor]] = []
    room = 0
    for flat in flats:
        start = 0
        while start < flat.numel():
            if room == 0:
                blocks.append([])
                room = block
            piece = flat[start : start + room]
            blocks[-1].append(piece)
            start += piece.numel()
            room -= piece.numel()
    return blocks
