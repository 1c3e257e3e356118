"""Running one call: warming it up, the memory that it takes, and one timed block.

On a GPU a call returns before the work is done, so that the CPU's clock would time the wrong thing: two events around
the call are stamped by the device itself. Between calls a buffer larger than the L2 cache is written, as Triton's
``do_bench`` and NVIDIA's nvbench do: in use, a network's weights rarely lie in the cache already.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsebench.errors import SparsebenchError
from sparsebench.processes import give_back
from sparsebench.statistics.processes import Floats
from sparsebench.tensors import tensors_in
from sparsebench.timing.machine import largest_cache_bytes, memory_bytes
from sparsebench.timing.schedule import BlockSize, Clock

WARM_UP_CALLS = 3
"""At least this many calls come before the timed ones."""

SETTLED_CALLS = 8
"""A call's duration is the median of at most so many last calls of the warm-up: first calls are slow."""

SETTLED = 0.1
"""A warm-up goes on while its second half differs from its first by more than this share."""

LONGEST_WARM_UP = 6
"""It goes on for at most so many blocks."""

MOST_UNITS = 8
"""A block has at most so many times the units that the warm-up foresaw, should the clock stand still."""

_RESET = Path("/proc/self/clear_refs")


def warm_up(call: Callable[[], object], clock: Clock, block_ns: float) -> float:
    """Return one call's nanoseconds, after a first call and then at least ``block_ns`` and ``WARM_UP_CALLS`` of them.

    The first call may load or compile for long and says nothing about the next ones. Where the next ones are still
    getting faster or slower, as with a runtime that tunes itself or starts its threads, the warm-up goes on, up to
    ``LONGEST_WARM_UP`` blocks.
    """
    call()
    start = before = clock()
    taken: list[int] = []
    end = float(block_ns)
    while len(taken) < WARM_UP_CALLS or before - start < end:
        call()
        now = clock()
        taken.append(now - before)
        before = now
        if now - start >= end and _unsettled(taken) and end < LONGEST_WARM_UP * block_ns:
            end += block_ns
    return max(float(np.median(taken[-SETTLED_CALLS:])), 1.0)


def _unsettled(taken: list[int]) -> bool:
    """Whether the second half of a warm-up differs from its first; a few calls do not say."""
    half = len(taken) // 2
    if half < WARM_UP_CALLS:
        return False
    first, second = float(np.median(taken[:half])), float(np.median(taken[half:]))
    return abs(first - second) > SETTLED * second


def peak_bytes(call: Callable[[], object]) -> int | None:
    """Return how much memory running something that is loaded, and was never called, takes at its peak.

    It is called a few times. The peak of the process's anonymous resident memory during all calls but the first, which
    may compile, less what it was before the first, is returned: activations, scratch memory, and what a runtime keeps
    for its later calls; not the weights as they were loaded. Memory that networks share, such as scratch memory that
    torch keeps, counts with the first that needs it.

    Returns:
        Bytes; None where the system does not tell.
    """
    give_back()  # So that using it again is seen.
    before = memory_bytes("/proc/self/status")
    if not ({"RssAnon", "RssFile", "RssShmem", "VmHWM"} <= before.keys() and os.access(_RESET, os.W_OK)):
        return None
    call()
    try:
        _RESET.write_text("5", encoding="ascii")  # Sets the peak to what is resident now (proc(5)).
    except OSError:
        return None
    for _ in range(WARM_UP_CALLS):
        call()
    after = memory_bytes("/proc/self/status")
    # The system keeps the peak of all resident memory; pages of files and shared ones only grow during the calls.
    return max(0, after["VmHWM"] - after["RssFile"] - after["RssShmem"] - before["RssAnon"])


def time_block(call: Callable[[], object], size: BlockSize, clock: Clock, block_ns: float) -> Floats:
    """Return the nanoseconds of one call, for each unit of a block; shape (units,).

    The block goes on until it has lasted ``block_ns``, and not for a number of calls that a warm-up foresaw: one that
    falls into a burst of other work foresees half as many. The median of two calls is spread otherwise than that of
    four, so that of two copies of a network the one with more calls would look faster beside such bursts.

    Args:
        call: what is timed.
        size: how many calls are timed together; and how many units are foreseen, ``MOST_UNITS`` times which end the
            block in any case.
        clock: returns nanoseconds.
        block_ns: how long the block shall last.
    """
    taken: list[int] = []
    begin = clock()
    while True:
        start = clock()
        for _ in repeat(None, size.calls):
            call()
        now = clock()
        taken.append(now - start)
        if now - begin >= block_ns or len(taken) >= MOST_UNITS * size.units:
            return np.array(taken, dtype=np.float64) / size.calls


COLD_CALLS = 3
"""Calls of a block at least, where the caches are emptied before each."""


def time_cold_block(call: Callable[[], object], size: BlockSize, clock: Clock) -> Floats:
    """Return the nanoseconds of each call of a block, the caches emptied before each; shape (units,).

    Args:
        call: what is timed.
        size: of ``units`` calls.
        clock: returns nanoseconds.
    """
    taken = []
    for _ in range(size.units):
        _touch()
        start = clock()
        call()
        taken.append(clock() - start)
    return np.array(taken, dtype=np.float64)


def touching_ns(clock: Clock) -> float:
    """Return how long it takes to empty the caches, in nanoseconds."""
    _touch()  # The first time, the memory is mapped.
    start = clock()
    _touch()
    return float(max(clock() - start, 1))


def _touch() -> None:
    """Read and write memory as large as the largest cache, so that hardly anything of a network is left in it."""
    buffer = _other_memory()
    np.add(buffer, 1, out=buffer)


@lru_cache(maxsize=1)
def _other_memory() -> NDArray[np.int64]:
    return np.zeros(largest_cache_bytes() // 8, dtype=np.int64)


_L2_TIMES = 2
"""How many times the size of the L2 cache is written between two calls."""

_GRAPH_WARM_UP = 3
"""Calls before a capture, during which libraries allocate what they keep; the number of PyTorch's own examples."""


def device_of(network: nn.Module, inputs: tuple[Any, ...]) -> torch.device | None:
    """Return the one GPU that a network and its inputs are on; None for the CPU.

    Raises:
        SparsebenchError: where they are on several devices, or on one that is neither a CPU nor a CUDA GPU.
    """
    held: list[Any] = [*network.parameters(), *network.buffers(), *tensors_in(inputs)]
    devices = {tensor.device for tensor in held if isinstance(tensor, Tensor) and tensor.device.type != "meta"}
    if not devices or {device.type for device in devices} == {"cpu"}:
        return None
    if len(devices) > 1 or {device.type for device in devices} != {"cuda"}:
        names = ", ".join(sorted(map(str, devices)))
        raise SparsebenchError(
            f"it and its inputs are on {names}; what is timed must be all on the CPU or all on one CUDA GPU. "
            "Move it and its inputs to one of them."
        )
    return devices.pop()


def synchronised(call: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Return a call that waits until the GPU is done, for a warm-up by the CPU's clock."""

    def run() -> object:
        result = call()
        torch.cuda.synchronize(device)
        return result

    return run


def time_gpu_block(call: Callable[[], object], size: BlockSize, device: torch.device) -> Floats:
    """Return the nanoseconds of each call of a block on the device's clock, the L2 cache cold; shape (calls,)."""
    flush = _flush_buffer(device)
    count = size.units * size.calls
    with torch.cuda.device(device):
        starts = [torch.cuda.Event(enable_timing=True) for _ in range(count)]  # type: ignore[no-untyped-call]
        ends = [torch.cuda.Event(enable_timing=True) for _ in range(count)]  # type: ignore[no-untyped-call]
        for start, end in zip(starts, ends, strict=True):
            flush.zero_()
            start.record()
            call()
            end.record()
        torch.cuda.synchronize(device)
    pairs = zip(starts, ends, strict=True)
    return np.asarray([start.elapsed_time(end) for start, end in pairs], dtype=np.float64) * 1e6


def graphed(call: Callable[[], object]) -> Callable[[], object]:
    """Capture a call, whose inputs stay where they are, as a CUDA graph and return its replay.

    A graph is launched at once, so that the CPU's time for launching many small kernels does not count.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(side):
        for _ in range(_GRAPH_WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        call()

    # The graph reads memory of the network and its inputs; the default argument keeps them alive as long as it lives.
    def replay(_call: Callable[[], object] = call) -> None:
        graph.replay()

    return replay


@lru_cache(maxsize=1)
def _flush_buffer(device: torch.device) -> Tensor:
    bytes_of_cache = int(torch.cuda.get_device_properties(device).L2_cache_size)
    return torch.empty(max(1, _L2_TIMES * bytes_of_cache), dtype=torch.int8, device=device)
