"""Timing whole rounds in one process."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.statistics.paired_ratios import Floats
from sparsebench.timing.blocks import Clock, time_block, warm_up
from sparsebench.timing.conditions import Conditions, Watch
from sparsebench.timing.footprint import peak_bytes, wake_torch
from sparsebench.timing.gpu import synchronised, time_gpu_block
from sparsebench.timing.quiet import quiet
from sparsebench.timing.schedule import BlockSize, block_size, settling_calls
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


@dataclass(frozen=True)
class Loaded:
    """What a generation knows of its variants before it times them, by their number.

    Attributes:
        block_ns: how long a block lasts, the calls before it included, as the warm-up promises.
        calls: how many calls are timed together; 1 unless they are very short.
        peak_bytes: memory that running it takes at its peak; None where it was not measured.
    """

    block_ns: tuple[float, ...]
    calls: tuple[int, ...]
    peak_bytes: tuple[int | None, ...]


def _tell_nobody(number: int) -> None:
    """Take no notice of which variant comes next."""


class RoundTimer(Protocol):
    """Times rounds of a generation, here or in a worker."""

    @property
    def loaded(self) -> Loaded:
        """What is known of the variants."""
        ...

    def round(self, order: NDArray[np.int_]) -> RoundSample:
        """Time one block of each variant in ``order``, which holds their numbers."""
        ...


@dataclass(frozen=True)
class _Warm:
    """A variant that is warmed up, and how its blocks are timed."""

    call: TimedCall
    size: BlockSize
    settling: int


def built(
    variants: Sequence[Variant], threads: int, cuda_graphs: bool, on_block: Callable[[int], None] = _tell_nobody
) -> list[TimedCall]:
    """Build variants, none of which is called yet.

    Args:
        variants: the baseline first.
        threads: threads of torch inside one operation.
        cuda_graphs: whether networks on a GPU are replayed as CUDA graphs.
        on_block: told which variant is built.

    Raises:
        VariantError: where a variant cannot be built.
    """
    calls = []
    with quiet(threads, collect=False):
        for number, variant in enumerate(variants):
            on_block(number)
            calls.append(ready(variant, threads, cuda_graphs))
    return calls


@dataclass
class Bench:
    """Variants that are built and warmed up; see ``built`` and ``Bench.warmed_up``.

    Attributes:
        loaded: what is known of them.
    """

    loaded: Loaded
    _variants: list[_Warm]
    _threads: int
    _clock: Clock
    _least_block_ns: float
    _on_block: Callable[[int], None] = field(default=_tell_nobody)

    @classmethod
    def warmed_up(
        cls,
        calls: Sequence[TimedCall],
        *,
        threads: int,
        least_block_ns: float,
        clock: Clock,
        footprint: bool = False,
        on_block: Callable[[int], None] = _tell_nobody,
    ) -> "Bench":
        """Warm up what was built and choose how many calls make a block of each.

        Args:
            calls: what ``built`` returns, the baseline first.
            threads: threads of torch inside one operation.
            least_block_ns: how long a block lasts at least.
            clock: returns nanoseconds.
            footprint: whether the memory that running each takes is measured; of use in a process of its own only.
            on_block: told which variant is warmed up, and later which is timed.

        Raises:
            VariantError: where a variant cannot be called.
        """
        warm: list[_Warm] = []
        block_ns: list[float] = []
        peaks: list[int | None] = []
        with quiet(threads):
            if footprint:
                wake_torch()
            for number, call in enumerate(calls):
                on_block(number)
                with named(call.name, "being warmed up"), _mode(call):
                    peaks.append(peak_bytes(call.call) if footprint and not call.device else None)
                    run = synchronised(call.call, call.device) if call.device else call.call
                    call_ns = warm_up(run, clock, least_block_ns)
                size, settling = block_size(call_ns, least_block_ns), settling_calls(call_ns, least_block_ns)
                warm.append(_Warm(call, size, settling))
                block_ns.append(call_ns * (size.calls * size.units + settling))
        # On a GPU every call has events of its own.
        together = tuple(1 if one.call.device else one.size.calls for one in warm)
        return cls(Loaded(tuple(block_ns), together, tuple(peaks)), warm, threads, clock, least_block_ns, on_block)

    def round(self, order: NDArray[np.int_]) -> RoundSample:
        """Time one block of each variant in ``order``, which holds their numbers."""
        taken = []
        with quiet(self._threads, collect=False):
            watch = Watch()
            self._lead_in(int(order[0]))
            for number in order.tolist():
                self._on_block(number)
                taken.append(self._block(self._variants[number]) / 1e6)
            conditions = watch.read()
        # A clock that does not move during a call would make a logarithm of zero.
        medians = tuple(max(float(np.median(block)), 1e-9) for block in taken)
        return RoundSample(medians, tuple(taken), conditions)

    def _lead_in(self, first: int) -> None:
        """Run the first variant of a round for the time of a block, so that its block has one before it as all others.

        Between two rounds the process waits for a moment, and its threads sleep. Where another process keeps a core
        busy, the system may then wake two of them on one core, and takes a while to part them. Calls of which one fills
        a block take long enough for that not to matter.
        """
        warm = self._variants[first]
        if warm.size.units > 1:
            self._on_block(first)
            self._block(warm)

    def _block(self, warm: _Warm) -> Floats:
        call = warm.call
        with named(call.name, "being timed"), _mode(call):
            for _ in range(warm.settling):
                call.call()
            if call.device:
                return time_gpu_block(call.call, warm.size, call.device)
            return time_block(call.call, warm.size, self._clock, self._least_block_ns)


@contextmanager
def _mode(call: TimedCall) -> Iterator[None]:
    """Run networks in inference mode, and leave functions to themselves."""
    with torch.inference_mode() if call.inference else nullcontext():
        yield
