"""Timing whole rounds in one process."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.timing.blocks import Clock, time_block, warm_up
from sparsebench.timing.conditions import Conditions, Watch
from sparsebench.timing.quiet import quiet
from sparsebench.timing.schedule import BlockSize, block_size
from sparsebench.timing.statistics import Floats
from sparsebench.timing.variants import TimedCall, Variant, named, ready


@dataclass(frozen=True)
class RoundSample:
    """One round as it was timed; blocks in their order in time.

    Attributes:
        latencies_ms: of each block, the median latency of its calls. A burst of other work that takes a part of a
            block leaves the median alone, but not the mean.
        calls_ms: of each block, the latencies behind that median.
        conditions: the machine during the round.
    """

    latencies_ms: tuple[float, ...]
    calls_ms: tuple[Floats, ...]
    conditions: Conditions


def _tell_nobody(number: int) -> None:
    """Take no notice of which variant comes next."""


class RoundTimer(Protocol):
    """Times rounds of a generation, here or in a worker."""

    @property
    def block_ns(self) -> Sequence[float]:
        """How long a block of each variant lasts, by its number; as the warm-up promises."""
        ...

    def round(self, order: NDArray[np.int_]) -> RoundSample:
        """Time one block of each variant in ``order``, which holds their numbers."""
        ...


class Bench:
    """Variants that are loaded and warmed up; see ``Bench.load``."""

    def __init__(
        self, calls: list[TimedCall], sizes: list[BlockSize], block_ns: list[float], threads: int, clock: Clock
    ) -> None:
        self._calls, self._sizes, self.block_ns = calls, sizes, block_ns
        self._threads, self._clock = threads, clock
        self.on_block: Callable[[int], None] = _tell_nobody
        """Told which variant comes next."""

    @classmethod
    def load(
        cls,
        variants: Sequence[Variant],
        *,
        threads: int,
        least_block_ns: float,
        clock: Clock,
        on_block: Callable[[int], None] = _tell_nobody,
    ) -> "Bench":
        """Load and warm up variants and choose how many calls make a block of each.

        Args:
            variants: the baseline first.
            threads: threads of torch inside one operation.
            least_block_ns: how long a block lasts at least.
            clock: returns nanoseconds.
            on_block: told which variant is loaded, and later which is timed.

        Raises:
            SparsebenchError: where a variant cannot be loaded or called; names it.
        """
        calls, sizes, block_ns = [], [], []
        with quiet(threads):
            for number, variant in enumerate(variants):
                on_block(number)
                call = ready(variant)
                with named(call.name, "being warmed up"), _mode(call):
                    call_ns = warm_up(call.call, clock, least_block_ns)
                size = block_size(call_ns, least_block_ns)
                calls.append(call)
                sizes.append(size)
                block_ns.append(call_ns * size.calls * size.units)
        bench = cls(calls, sizes, block_ns, threads, clock)
        bench.on_block = on_block
        return bench

    def round(self, order: NDArray[np.int_]) -> RoundSample:
        """Time one block of each variant in ``order``, which holds their numbers."""
        taken = []
        with quiet(self._threads, collect=False):
            watch = Watch()
            for number in order.tolist():
                self.on_block(number)
                call = self._calls[number]
                with named(call.name, "being timed"), _mode(call):
                    taken.append(time_block(call.call, self._sizes[number], self._clock) / 1e6)
            conditions = watch.read()
        # A clock that does not move during a call would make a logarithm of zero.
        medians = tuple(max(float(np.median(block)), 1e-9) for block in taken)
        return RoundSample(medians, tuple(taken), conditions)


@contextmanager
def _mode(call: TimedCall) -> Iterator[None]:
    """Run networks in inference mode, and leave functions to themselves."""
    with torch.inference_mode() if call.inference else nullcontext():
        yield
