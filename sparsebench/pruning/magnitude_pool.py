"""The magnitudes of many tensors as one sequence of integers, counted and gathered without a copy of them all."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_CPU_BLOCK = 1 << 19
"""Elements handled at once on a CPU: the buffers of one block stay in the second-level caches of two cores."""

_DEVICE_BLOCK = 1 << 26
"""Elements handled at once elsewhere: large, because each block costs kernel launches and a wait."""

_WORD = 8
"""Elements whose one-byte marks make up one int64; most words of marks are zero and are skipped whole."""


@dataclass(frozen=True)
class Candidates:
    """The bit patterns, in one dimension, of the magnitudes that lie in a bracket, in the order of the pool."""

    bits: Tensor
    _marks: Tensor  # Where they stand among the words that hold any.
    _words: Tensor  # The position in the pool of the first element of each of these words.

    def positions_of(self, bits: int) -> Tensor:
        """Return the positions in the pool, ascending, of the candidates that equal ``bits``."""
        marks = self._marks[self.bits == bits]
        return self._words[marks // _WORD] + marks % _WORD


@dataclass(frozen=True)
class Tally:
    """What one pass over a pool found about a bracket ``[low, high]``.

    Attributes:
        below: number of magnitudes below the bracket.
        inside: number of magnitudes in it; where ``candidates`` is None, counted without them.
        largest: bit pattern of the largest magnitude of all; at least that of infinity where one is not finite.
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

    Nothing is kept of the tensors but views; they must not change while the pool is used, and a thread uses one pool at
    a time. The buffers of a block are kept for the next pool, since page faults of fresh ones cost more than a pass.

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
        block = min(_CPU_BLOCK if self._device.type == "cpu" else _DEVICE_BLOCK, _whole_words(self.numel))
        self._pieces = _cut(flats, block)
        self._bits, self._work, self._low_marks, self._marks = _buffers(block, self._integer, self._device)
        self._loaded = -1  # Which block the first buffer holds.

    def value(self, bits: int) -> float:
        """Return the magnitude with this bit pattern."""
        return torch.tensor(bits, dtype=self._integer).view(self.dtype).item()

    def sample(self, stride: int) -> Tensor:
        """Return every ``stride``-th magnitude as bit patterns, sorted."""
        if len(self._pieces) == 1:
            return self._load(0)[::stride].sort().values
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
            gather_at_most: elements in words that hold a candidate at which the candidates are only counted; 0 for
                counting alone.
        """
        below, counted, largest, gathered = [], [], [], []
        start = held = inside = 0
        for number in range(len(self._pieces)):
            bits = self._load(number)
            work, low_marks, marks = (buffer[: len(bits)] for buffer in (self._work, self._low_marks, self._marks))
            largest.append(bits.amax())
            # Comparing in place into integers and narrowing them is three times as fast as comparing into booleans.
            work.copy_(bits).lt_(low)
            below.append(work.sum(dtype=torch.int32))
            if held * _WORD < gather_at_most:
                low_marks.copy_(work)
                marks.copy_(work.copy_(bits).le_(high)).bitwise_xor_(low_marks)
                found, places, words = self._gather(len(bits))
                gathered.append((found, places.add_(held * _WORD), words.add_(start)))
                held += len(words)
                inside += len(found)
            else:
                counted.append(work.copy_(bits).le_(high).sum(dtype=torch.int32) - below[-1])
            start += len(bits)
        complete = not counted and held * _WORD < gather_at_most
        return Tally(
            below=int(torch.stack(below).sum()),
            inside=inside + (int(torch.stack(counted).sum()) if counted else 0),
            largest=int(torch.stack(largest).amax()),
            candidates=Candidates(*(torch.cat(parts) for parts in zip(*gathered, strict=True))) if complete else None,
        )

    def _load(self, number: int) -> Tensor:
        # The first buffer, as far as it is filled with the bit patterns of one block.
        pieces = self._pieces[number]
        bits = self._bits[: sum(piece.numel() for piece in pieces)]
        if number == self._loaded:
            return bits
        self._loaded = number
        start = 0
        for piece in pieces:
            own = self._own(piece).view(self._integer)
            torch.bitwise_and(own, self._no_sign, out=bits[start : start + len(own)])
            start += len(own)
        return bits

    def _own(self, piece: Tensor) -> Tensor:
        return piece.to(device=self._device, dtype=self.dtype)

    def _gather(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        # Of the marked elements of the current block: their bit patterns, where they stand among the elements of all
        # words that hold any, and the positions in the block of these words.
        end = _whole_words(size)
        self._marks[size:end] = False
        marks = self._marks[:end]
        words = marks.view(torch.int64).nonzero().squeeze(1)
        places = marks.view(-1, _WORD).index_select(0, words).flatten().nonzero().squeeze(1)
        bits = self._bits[:end].view(-1, _WORD).index_select(0, words).flatten().index_select(0, places)
        return bits, places, words.mul_(_WORD)


_kept = threading.local()


def _buffers(size: int, integer: torch.dtype, device: torch.device) -> list[Tensor]:
    # Two of integers and two of marks; on a CPU they are kept for the next call of this thread, elsewhere the allocator
    # keeps memory by itself.
    kept: dict[str, list[Tensor]] = vars(_kept) if device.type == "cpu" else {}
    held = kept.get(str(integer))
    if held is None or len(held[0]) < size:
        dtypes = (integer, integer, torch.bool, torch.bool)
        held = kept[str(integer)] = [torch.zeros(size, dtype=dtype, device=device) for dtype in dtypes]
    return [buffer[:size] for buffer in held]


def _whole_words(size: int) -> int:
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
