"""Working memory is the same on every backend, and what a person counts by hand."""

from functools import cache

import pytest
import torch
from recordings import recorded
from torch import nn
from torch.nn import functional

from sparsebench.backends import build_backend
from sparsebench.measure import working_memory
from sparsebench.models.resnet_cifar import resnet20


def layer(inputs, outputs, groups=1, size=3):
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


class Functional(nn.Module):
    """No module runs inside it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(4, 1, 3, 3))
        self.second = nn.Parameter(torch.randn(8, 4, 3, 3))
        self.last = nn.Parameter(torch.randn(2, 8))

    def forward(self, x):
        x = functional.relu(functional.conv2d(x, self.first, padding=1))
        x = functional.relu(functional.conv2d(x, self.second, padding=1))
        return functional.linear(x.mean((2, 3)), self.last)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.bottom = layer(1, 8), layer(8, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.last = nn.Sequential(layer(16, 8), nn.Conv2d(8, 2, 1))

    def forward(self, x):
        skip = self.down(x)
        below = self.up(self.bottom(functional.max_pool2d(skip, 2)))
        return self.last(torch.cat([skip, below], 1))


class InvertedResidual(nn.Module):
    def __init__(self):
        super().__init__()
        narrow = nn.Sequential(nn.Conv2d(24, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.layers = nn.Sequential(layer(4, 24, size=1), layer(24, 24, groups=24), narrow)

    def forward(self, x):
        return x + self.layers(x)


class Dense(nn.Module):
    """Each layer reads what all before it made."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(4 * n), nn.ReLU(), nn.Conv2d(4 * n, 4, 3, padding=1)) for n in (1, 2, 3)
        )

    def forward(self, x):
        for each in self.layers:
            x = torch.cat([x, each(x)], 1)
        return x.mean((2, 3))


CASES = {
    # The skip, what the second convolution reads and what it makes: 16 maps of 32 × 32 floats each.
    "ResNet-20": (lambda: resnet20(10, (3, 32, 32)), (3, 32, 32), 3 * 16 * 1024 * 4),
    # 4 maps of 8 × 8 in, 8 out.
    "functional": (Functional, (1, 8, 8), (4 + 8) * 64 * 4),
    # Two times 8 maps of 16 × 16 and their 16 in one tensor.
    "U-Net": (UNet, (1, 16, 16), (8 + 8 + 16) * 256 * 4),
    # The second block: the skip of 4 maps beside 24 in and 24 out.
    "inverted residual": (lambda: nn.Sequential(InvertedResidual(), InvertedResidual()), (4, 8, 8), (4 + 48) * 64 * 4),
    # Joining 12 maps and 4 new ones.
    "DenseNet": (Dense, (4, 8, 8), (12 + 4 + 16) * 64 * 4),
}


@cache
def network(name):
    torch.manual_seed(0)
    build, shape, _ = CASES[name]
    return build().eval(), (torch.randn(1, *shape),)


def memory_of(name, backend, scheme):
    net, example = network(name)
    compressed = build_backend(backend).compress(net, scheme, example, recorded(*example))
    found = compressed.working_memory_bytes
    return working_memory(compressed.layered or compressed.network, example) if found is None else found


@pytest.mark.parametrize("backend", ["eager", "onnxruntime", "openvino"])
@pytest.mark.parametrize("name", CASES)
def test_it_is_what_a_person_counts(name, backend):
    assert memory_of(name, backend, "fp32") == CASES[name][2]


def test_int8_needs_a_quarter_where_every_layer_is_int8():
    assert memory_of("inverted residual", "eager", "static") == (4 + 48) * 64
    assert memory_of("inverted residual", "onnxruntime", "static") == (4 + 48) * 64
    assert memory_of("inverted residual", "openvino", "static") == (4 + 48) * 64


def test_of_a_compiled_network_it_is_that_of_its_graph():
    assert memory_of("functional", "inductor", "fp32") == CASES["functional"][2]
    assert memory_of("inverted residual", "inductor", "static") < CASES["inverted residual"][2]
