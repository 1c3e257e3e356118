"""What an object is called by: the same in every process, and another as soon as it is another."""

import functools
import io
import threading
from dataclasses import dataclass

import forked
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset

from sparsebench.live.digests import NoDigestError, digest

CELL = """
import torch
from torch import nn
from dataclasses import dataclass

SCALE = {scale}

def helper(x):
    return x * SCALE

@dataclass
class Options:
    width: int = {width}

class Net(nn.Module):
    limit = 3

    def __init__(self, num_classes=3):
        super().__init__()
        self.options = Options()
        self.layer = nn.Linear(4, num_classes)

    @torch.no_grad()
    def forward(self, x):
        return helper(self.layer(x)).clamp({clamp})
"""


def cell(before="", scale=2, width=4, clamp="0"):
    """Return the names that a cell of a notebook defines, wherever it stands."""
    names = {"__name__": "__main__"}
    exec(compile(before + CELL.format(scale=scale, width=width, clamp=clamp), f"<cell {before!r}>", "exec"), names)  # noqa: S102 - a test's own code
    return names


def of_net(**changes):
    return digest(cell(**changes)["Net"], "network")


def test_a_class_is_the_same_wherever_it_stands():
    assert of_net() == of_net(before="\n\n# a comment\n\n")


@pytest.mark.parametrize("change", [{"scale": 3}, {"clamp": "1"}])
def test_a_class_is_another_where_its_code_or_a_value_it_uses_is_another(change):
    assert of_net(**change) != of_net()


def test_what_another_process_makes_of_the_same_code_and_seed_has_the_same_digest(tmp_path):
    code = (
        CELL.format(scale=2, width=4, clamp="0")
        + "\ntorch.manual_seed(5)\nfrom sparsebench.live.digests import digest\n"
        + "print(digest(Net, 'n'), digest(Net(), 'n'))"
    )
    told = forked.run(["-c", code], tmp_path).stdout.split()
    names = cell()
    torch.manual_seed(5)
    assert told == [digest(names["Net"], "n"), digest(names["Net"](), "n")]


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.LSTM(8, 3))


def changed(change):
    net = network()
    change(net)
    return net


def test_a_network_is_its_weights_and_not_its_mode_or_gradients():
    used = network().eval()
    used[0](torch.ones(2, 4)).sum().backward()
    assert digest(used, "n") == digest(network(), "n")


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[0].weight.data.mul_(1.0001),
        lambda net: net[1].running_mean.add_(1e-6),
        lambda net: net.add_module("0", nn.Linear(4, 8)),
        lambda net: net.append(nn.ReLU()),
        lambda net: setattr(net[1], "eps", 1e-3),
        lambda net: net[0].register_forward_hook(lambda module, inputs, output: output + 1),
        lambda net: net[0].weight.requires_grad_(False),
        lambda net: net.double(),
    ],
)
def test_a_network_is_another_where_anything_that_it_computes_with_is(change):
    assert digest(changed(change), "n") != digest(network(), "n")


def closing_over(value):
    return lambda x: x + value


def defaulting(x, y=(1, 2.0)):
    return x, y


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (closing_over(1), closing_over(2)),
        (functools.partial(defaulting, y=1), functools.partial(defaulting, y=True)),
        (torch.ones(2), torch.ones(2, dtype=torch.int)),
        (torch.ones(2, 1), torch.ones(1, 2)),
        (np.ones(2), np.ones(2, dtype=np.float32)),
        ({"a": 1}, {"a": "1"}),
        ([[1], [2]], [[1, 2]]),
        (TensorDataset(torch.ones(3)), TensorDataset(torch.zeros(3))),
        (Subset(TensorDataset(torch.ones(3)), [0, 1]), Subset(TensorDataset(torch.ones(3)), [1, 0])),
        ({1, 2}, {1, 3}),
    ],
)
def test_different_objects_have_different_digests(first, second):
    assert digest(first, "x") != digest(second, "x")


@pytest.mark.parametrize(
    "make",
    [
        lambda: closing_over([1, {"b": 2, "a": {3, 4}}]),
        lambda: {"b": 1, "a": np.arange(3)},
        lambda: TensorDataset(torch.arange(6).view(2, 3)),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.randn(3, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16),
        lambda: functools.lru_cache(defaulting),
        lambda: np.array(["2026-01-01"], dtype="datetime64[D]"),
    ],
)
def test_the_same_made_twice_has_the_same_digest(make):
    assert digest(make(), "x") == digest(make(), "x")


class Reading(Dataset):
    def __init__(self, file):
        self.file = file

    def __len__(self):
        return 1


def test_what_nothing_tells_from_another_is_named_with_its_place():
    with pytest.raises(NoDigestError) as raised:
        digest({"train": Reading(threading.Lock())}, "data")
    assert str(raised.value) == (
        "data['train'].file is a _thread.lock, which nothing can tell from another of its kind, so that a run could "
        "not be resumed. Keep it out of the object (open or make it when it is used), or give the object an attribute "
        "version = '1', and raise it whenever the object changes."
    )


def test_a_version_stands_for_what_cannot_be_told():
    def versioned(version):
        data = Reading(io.TextIOWrapper(io.BytesIO()))
        data.version = version
        return digest(data, "data")

    assert versioned("1") == versioned("1") != versioned("2")


@dataclass
class Ring:
    other: object = None


def test_objects_that_hold_each_other_have_a_digest():
    def ring(value):
        first, second = Ring(), Ring()
        first.other, second.other = second, [first, value]
        return digest(first, "x")

    assert ring(1) == ring(1) != ring(2)
