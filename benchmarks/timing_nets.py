"""Networks whose speedup is known exactly, copies of real ones, and neighbours that keep cores busy."""

import multiprocessing
import os
import pickle
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsebench.models.resnet_cifar import resnet20

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


def resnet() -> nn.Module:
    """Return a ResNet-20 for ten classes, the same in every process."""
    torch.manual_seed(0)
    return resnet20(num_classes=10, input_shape=(3, 32, 32)).eval()


def image(side: int) -> tuple[Tensor]:
    """Return one random image of so many pixels a side."""
    return (torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(0)),)


def write_mobilenet(path: Path, side: int) -> None:
    """Write a MobileNetV2 as backend ``openvino`` runs it in fp32, made for one image and one thread."""
    # Workers read the file, and need neither of these.
    from torchvision.models import mobilenet_v2

    from sparsebench.backends.openvino.backend import OpenVINO
    from sparsebench.quantization import Recording

    torch.manual_seed(0)
    net, inputs, backend = mobilenet_v2(weights=None).eval(), image(side), OpenVINO()
    nothing = Recording(net, lambda network: None, limit=1)  # fp32 calibrates on nothing.
    network = backend.compress(net, "fp32", inputs, nothing).network
    path.write_bytes(pickle.dumps(backend.specialise(network, inputs, threads=1)))


def mobilenet(path: str) -> nn.Module:
    """Return the network that was written there, loaded anew."""
    return pickle.loads(Path(path).read_bytes())  # noqa: S301 - written a moment ago, by ourselves


@contextmanager
def busy_neighbour(core: int | None, seed: int) -> Iterator[None]:
    """Keep a process beside us that works in bursts of half a second on average, half of the time, on one core."""
    with _beside(1, _work_in_bursts, core, seed):
        yield


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep so many processes beside us that never rest."""
    with _beside(count, _work):
        yield


@contextmanager
def _beside(count: int, work, *arguments: int | None) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    processes: list[SpawnProcess] = [
        context.Process(target=work, args=(stop, *arguments), daemon=True) for _ in range(count)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        stop.set()
        for process in processes:
            process.join(5)
            process.kill()


def _work(stop: Event) -> None:
    while not stop.is_set():
        sum(range(100_000))


def _work_in_bursts(stop: Event, core: int | None, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - dice, no secrets
    if core is not None:
        os.sched_setaffinity(0, {core})
    while not stop.is_set():
        end = time.monotonic() + dice.expovariate(2)
        while time.monotonic() < end and not stop.is_set():
            sum(range(10_000))
        stop.wait(dice.expovariate(2))
