"""Timing whole rounds in one process."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.statistics.processes import Floats
from sparsebench.timing.blocks import (
    COLD_CALLS,
    peak_bytes,
    synchronised,
    time_block,
    time_cold_block,
    time_gpu_block,
    touching_ns,
    warm_up,
)
from sparsebench.timing.machine import Conditions, conditions_since, counters
from sparsebench.timing.schedule import BlockSize, Settings, block_size, settling_calls
from sparsebench.timing.variants import TimedCall, Variant, named, ready


@dataclass(frozen=True)
class RoundSample:
    """One round as it was timed; blocks in their order in time.

    Attributes:
        latencies_ms: of each block, the median latency of its calls. A burst of other work that takes a part of a
            block leaves the median alone, but not the mean.
        calls_ms: of each block, the latencies behind that median; where calls are very short, each is the mean of
            several calls.
        conditions: the machine during the round.
    """

    latencies_ms: tuple[float, ...]
    calls_ms: tuple[Floats, ...]
    conditions: Conditions


@dataclass(frozen=True)
class Loaded:
    """What a generation knows of a variant before it times it.

    Attributes:
        block_ns: how long a block lasts, the calls before it included, as the warm-up promises.
        calls: how many calls are timed together; 1 unless they are very short.
        peak_bytes: memory that running it takes at its peak; None where it was not measured.
    """

    block_ns: float
    calls: int
    peak_bytes: int | None


class RoundTimer(Protocol):
    """Times rounds of a generation, here or in a worker.

    Attributes:
        loaded: what is known of the variants, by their number.
        cores: cores that it stays on; None where it may run anywhere.
        ready_ns: its share of the time until all that were made ready side by side had built their variants.
        warm_up_ns: how long it took from then until it could time.
        more_ready: how many others are ready.
    """

    loaded: Sequence[Loaded]
    cores: tuple[int, ...] | None
    ready_ns: float
    warm_up_ns: float
    more_ready: int

    def round(self, order: NDArray[np.int_]) -> RoundSample:
        """Time one block of each variant in ``order``, which holds their numbers."""


@dataclass(frozen=True)
class _Warm:
    call: TimedCall
    size: BlockSize
    settling: int


def _tell_nobody(number: int) -> None:
    """Take no notice of which variant comes next."""


def built(
    variants: Sequence[Callable[[], Variant]],
    loading: Sequence[int],
    settings: Settings,
    on_block: Callable[[int], None] = _tell_nobody,
) -> dict[int, TimedCall]:
    """Build variants in the order ``loading``, none of which is called yet, and tell ``on_block`` which one it is.

    Returns:
        Calls by number, in the order in which they were built.

    Raises:
        VariantError: where a variant cannot be built.
    """
    calls = {}
    with _quiet(settings.threads, collect=False):
        for number in loading:
            on_block(number)
            calls[number] = ready(variants[number](), settings.threads, settings.cuda_graphs)
    return calls


@dataclass
class Bench:
    """Variants that are built and warmed up; a ``RoundTimer`` of this process."""

    loaded: Sequence[Loaded]
    _variants: Sequence[_Warm]
    _settings: Settings
    _on_block: Callable[[int], None]
    cores: tuple[int, ...] | None = None
    ready_ns: float = 0.0
    warm_up_ns: float = 0.0
    more_ready: int = 0

    @classmethod
    def warmed_up(
        cls,
        calls: Mapping[int, TimedCall],
        settings: Settings,
        *,
        on_block: Callable[[int], None] = _tell_nobody,
    ) -> "Bench":
        """Warm up what was built and choose how many calls make a block of each.

        Args:
            calls: what ``built`` returns; they are warmed up in that order.
            settings: how they are timed.
            on_block: told which variant is warmed up, and later which is timed.

        Raises:
            VariantError: where a variant cannot be called.
        """
        loaded: dict[int, Loaded] = {}
        warm: dict[int, _Warm] = {}
        began = settings.now()
        touch_ns = touching_ns(settings.now) if settings.cache == "cold" else 0.0
        with _quiet(settings.threads):
            if (
                settings.footprint
            ):  # What torch needs for its first convolution and matrix product counts with no network.
                with torch.inference_mode():
                    torch.nn.functional.conv2d(torch.ones(1, 8, 8, 8), torch.ones(8, 8, 3, 3))
                    torch.ones(8, 8) @ torch.ones(8, 8)
            for number, call in calls.items():
                on_block(number)
                with named(call.name, "being warmed up"), _mode(call):
                    peak = peak_bytes(call.call) if settings.footprint and not call.device else None
                    run = synchronised(call.call, call.device) if call.device else call.call
                    call_ns = warm_up(run, settings.now, settings.block_ns)
                size, settling = block_size(call_ns, settings.block_ns), settling_calls(call_ns, settings.block_ns)
                block_ns = call_ns * (size.calls * size.units + settling)
                if touch_ns and not call.device:
                    size, settling = BlockSize(max(COLD_CALLS, round(settings.block_ns / (call_ns + touch_ns))), 1), 0
                    block_ns = (call_ns + touch_ns) * size.units
                warm[number] = _Warm(call, size, settling)
                # On a GPU every call has events of its own.
                together = 1 if call.device else size.calls
                loaded[number] = Loaded(block_ns, together, peak)
        numbers = sorted(calls)
        return cls(
            [loaded[number] for number in numbers],
            [warm[number] for number in numbers],
            settings,
            on_block,
            warm_up_ns=settings.now() - began,
        )

    def round(self, order: NDArray[np.int_]) -> RoundSample:
        """Time one block of each variant in ``order``, which holds their numbers."""
        with _quiet(self._settings.threads, collect=False):
            before = counters()
            # Between two rounds the process waits for a moment, and its threads sleep. Where another process keeps a
            # core busy, the system may then wake two of them on one core, and takes a while to part them. So the first
            # block has one before it, as all others have; calls of which one fills a block take long enough without.
            if self._variants[order[0]].size.units > 1:
                self._block(order[0])
            taken = [self._block(number) / 1e6 for number in order.tolist()]
            conditions = conditions_since(before)
        # A clock that does not move during a call would make a logarithm of zero.
        medians = tuple(max(float(np.median(block)), 1e-9) for block in taken)
        return RoundSample(medians, tuple(taken), conditions)

    def _block(self, number: int) -> Floats:
        self._on_block(number)
        warm = self._variants[number]
        call = warm.call
        with named(call.name, "being timed"), _mode(call):
            for _ in range(warm.settling):
                call.call()
            if call.device:
                return time_gpu_block(call.call, warm.size, call.device)
            if self._settings.cache == "cold":
                return time_cold_block(call.call, warm.size, self._settings.now)
            return time_block(call.call, warm.size, self._settings.now, self._settings.block_ns)


def _mode(call: TimedCall) -> AbstractContextManager[object]:
    """Networks run in inference mode, and functions are left to themselves."""
    return torch.inference_mode() if call.inference else nullcontext()


@contextmanager
def _quiet(threads: int, *, collect: bool = True) -> Iterator[None]:
    """Set torch's threads and stop the garbage collector, whose pauses would fall on single calls; restore both.

    Collecting garbage first takes a tenth of a second in a process with torch.
    """
    threads_before, collecting = torch.get_num_threads(), gc.isenabled()
    if collect:
        gc.collect()
    gc.disable()
    try:
        torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(threads_before)
        if collecting:
            gc.enable()
