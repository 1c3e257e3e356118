"""Latency of one network by itself: a warmed-up loop of forward passes."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsebench.errors import SparsebenchError
from sparsebench.timing.batch import batch_of
from sparsebench.timing.quiet import quiet

__all__ = ["LoopTiming", "batch_of", "time_network"]

WARM_UP_CALLS = 5
"""At least this many calls come before the timed ones."""

WARM_UP_SHARE = 0.1
"""Warm-up lasts at least this share of the time asked for."""

TIMED_CALLS = 5
"""At least this many calls are timed, however slow the network is."""

KEPT_SAMPLES = 1000
"""At most this many single latencies are kept."""


@dataclass(frozen=True)
class LoopTiming:
    """Latencies of single forward passes, in milliseconds.

    Attributes:
        calls: number of timed calls.
        median_ms: median over all timed calls.
        p95_ms: 95th percentile over all timed calls, linearly interpolated.
        p99_ms: 99th percentile over all timed calls, linearly interpolated.
        samples_ms: the latencies in the order in which they were taken; of more than ``KEPT_SAMPLES`` calls, that many
            evenly spaced ones, the first and the last among them.
    """

    calls: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    samples_ms: tuple[float, ...]


def time_network(
    net: nn.Module,
    example: tuple[Any, ...],
    *,
    batch_size: int,
    threads: int,
    seconds: float,
    max_calls: int = 10_000,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> LoopTiming:
    """Time forward passes of one network, after a warm-up, without the garbage collector and without gradients.

    The warm-up has at least ``WARM_UP_CALLS`` calls and lasts at least ``WARM_UP_SHARE`` of ``seconds``. Timed calls go
    on until ``seconds`` have passed, but are at least ``TIMED_CALLS``, or fewer where ``max_calls`` is lower. On a GPU
    a call is timed by device events and waited for.

    Args:
        net: the network, in evaluation mode.
        example: positional arguments of one forward pass, on the network's device; see ``batch_of`` for how the
            timed batch is made from it.
        batch_size: samples in one call.
        threads: threads of torch inside one operation; the former number is restored afterwards.
        seconds: time spent on timed calls.
        max_calls: most calls to be timed.
        clock: returns nanoseconds that never run backwards.

    Raises:
        SparsebenchError: where an argument is out of range.
        DataError: where no batch can be made from ``example``.
    """
    if threads < 1 or max_calls < 1 or not seconds > 0:
        raise SparsebenchError(
            f"Timing with threads={threads}, seconds={seconds}, max_calls={max_calls} is not possible; "
            "threads and max_calls must be at least 1, and seconds above 0."
        )
    arguments = tuple(batch_of(argument, batch_size) for argument in example)
    on_gpu = any(isinstance(argument, Tensor) and argument.is_cuda for argument in arguments)
    timed = _gpu_call if on_gpu else _cpu_call
    budget = int(seconds * 1e9)
    with quiet(threads), torch.inference_mode():
        warm_up = int(budget * WARM_UP_SHARE)
        for _ in _while(clock, warm_up, WARM_UP_CALLS):
            timed(net, arguments, clock)
        taken = [timed(net, arguments, clock) for _ in _while(clock, budget, min(TIMED_CALLS, max_calls), max_calls)]
    return _summary(taken)


def _while(clock: Callable[[], int], budget_ns: int, at_least: int, at_most: int | None = None) -> Iterator[int]:
    """Count calls until both ``budget_ns`` have passed and ``at_least`` were made, or ``at_most`` were."""
    start, count = clock(), 0
    while count != at_most and (count < at_least or clock() - start < budget_ns):
        yield count
        count += 1


def _cpu_call(net: nn.Module, arguments: tuple[Any, ...], clock: Callable[[], int]) -> float:
    """Return the milliseconds of one call."""
    start = clock()
    net(*arguments)
    return (clock() - start) / 1e6


def _gpu_call(net: nn.Module, arguments: tuple[Any, ...], _: Callable[[], int]) -> float:
    """Return the milliseconds between two events round one call, on the device's own clock."""
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    start.record()
    net(*arguments)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def _summary(taken: list[float]) -> LoopTiming:
    samples = np.asarray(taken)
    median, p95, p99 = (float(value) for value in np.percentile(samples, (50, 95, 99)))
    kept = np.linspace(0, len(samples) - 1, min(len(samples), KEPT_SAMPLES)).round().astype(int)
    return LoopTiming(len(samples), median, p95, p99, tuple(samples[kept].tolist()))
