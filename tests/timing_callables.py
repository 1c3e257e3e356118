"""What the tests of comparisons time; a worker can import it."""

import os
import signal
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
