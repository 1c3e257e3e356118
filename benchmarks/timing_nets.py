"""Variants whose latency ratio is known exactly, and a neighbour that keeps a core busy in bursts."""

import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event

import torch
from torch import Tensor, nn

REPEATS = 100
"""How often the baseline runs its layers; a variant that is p % slower runs them p times more."""

INPUTS = (1, 32, 16, 16)


class Repeated(nn.Module):
    """The same convolution on the same input, again and again: its work is proportional to the repeats."""

    def __init__(self, repeats: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())
        self.repeats = repeats

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.repeats):
            output = self.layers(x)
        return output


def repeated(repeats: int) -> nn.Module:
    """Return a network that takes ``repeats / REPEATS`` of the baseline's time."""
    torch.manual_seed(0)
    return Repeated(repeats).eval()


def inputs() -> tuple[Tensor]:
    """Return what all of them are fed."""
    return (torch.rand(INPUTS, generator=torch.Generator().manual_seed(0)),)


@contextmanager
def busy_neighbour(core: int | None, seed: int) -> Iterator[None]:
    """Keep a process beside us that works in bursts of half a second on average, half of the time, on one core."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    process = context.Process(target=_work_in_bursts, args=(stop, core, seed), daemon=True)
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join(5)
        process.kill()


def _work_in_bursts(stop: Event, core: int | None, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - dice, no secrets
    if core is not None:
        os.sched_setaffinity(0, {core})
    while not stop.is_set():
        end = time.monotonic() + dice.expovariate(2)
        while time.monotonic() < end and not stop.is_set():
            sum(range(10_000))
        stop.wait(dice.expovariate(2))
