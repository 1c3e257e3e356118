"""What the tests of comparisons time; a worker can import it."""

import os
import signal
import time
from functools import partial

import torch
from torch import nn


def multiply(times, size=128):
    matrix = torch.ones(size, size)
    for _ in range(times):
        matrix @ matrix


def once():
    multiply(1)


def twice():
    multiply(2)


def network():
    return nn.Linear(64, 64).eval()


def bound_network():
    return partial(network(), torch.ones(4, 64))


def raises():
    raise ValueError("broken inside")


def hangs():
    time.sleep(600)


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


class DiesOnLoading:
    def __call__(self):
        return None

    def __setstate__(self, state):
        os._exit(3)

    def __getstate__(self):
        return {"some": "state"}


class FailsOnLoading(DiesOnLoading):
    def __setstate__(self, state):
        raise RuntimeError("no such file")


class Scaled(nn.Module):
    """What a backend might make for certain inputs."""

    def __init__(self, network, inputs, threads):
        super().__init__()
        self.network, self.asked = network, (tuple(inputs[0].shape), threads, torch.get_num_threads())

    def forward(self, x):
        if self.asked != ((4, 64), 1, 1):
            raise ValueError(f"specialised for {self.asked}")
        return self.network(x)


def allocates():
    """A network that holds 20 MB of weights and takes 40 MB more while it runs."""
    return Allocating().eval()


class Allocating(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5_000_000))

    def forward(self, x):
        return torch.cat([self.weight, self.weight]).sum() + x.sum()


def noted(folder, name, times):
    """Return work whose name is noted in a file of the process that builds it."""
    with (folder / f"{os.getpid()}.txt").open("a") as file:
        file.write(f"{name}\n")
    return partial(multiply, times)
