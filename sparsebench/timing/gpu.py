"""Timing on a GPU: by the device's own events, with a cold L2 cache, and on request as a CUDA graph.

A call returns before the GPU has done its work, so that the CPU's clock would time the wrong thing; two events around
the call are stamped by the device itself. Between calls a buffer larger than the L2 cache is written, as Triton's
``do_bench`` and NVIDIA's nvbench do: in use, a network's weights rarely lie in the cache already.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsebench.errors import SparsebenchError
from sparsebench.statistics.ratios import Floats
from sparsebench.timing.schedule import BlockSize

_L2_TIMES = 2
"""How many times the size of the L2 cache is written between two calls."""

_GRAPH_WARM_UP = 3
"""Calls before a capture, during which libraries allocate what they keep; the number of PyTorch's own examples."""


def device_of(network: nn.Module, inputs: tuple[Any, ...]) -> torch.device | None:
    """Return the one GPU that a network and its inputs are on; None for the CPU.

    Raises:
        SparsebenchError: where they are on several devices, or on one that is neither a CPU nor a CUDA GPU.
    """
    held: list[Any] = [*network.parameters(), *network.buffers(), *inputs]
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
