"""Backends whose latency is known beside eager's, for tests of timing in a sweep."""

from typing import ClassVar

from torch import nn

from sparsebench.backends.eager.backend import Eager


class FourTimes(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        for _ in range(4):
            output = self.network(*inputs)
        return output


class Slow(Eager):
    """Eager, which runs everything four times where it is timed; tells what it was specialised for."""

    name = "slow"
    asked: ClassVar[list[tuple[int, int]]] = []

    def specialise(self, network, inputs, threads):
        self.asked.append((len(inputs[0]), threads))
        return FourTimes(network)
