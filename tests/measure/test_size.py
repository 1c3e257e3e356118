"""Metrics: Wilson intervals against published values, zeros and sizes against counts by hand."""

import io
import math
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest
from small_nets import DeepLSTM, Functional, SmallCNN, Stubbed, built, images, sequences
from torch import nn

from sparsebench.errors import DataError, SparsebenchError
from sparsebench.measure import NetworkSize, count_zeros, measure_size, parameter_counts
from sparsebench.statistics.accuracy import wilson_interval


# Newcombe, Statistics in Medicine 17 (1998) 857–872, table I, method 3, 95 %.
@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_the_published_values(correct, total, low, high):
    assert [round(end, 4) for end in wilson_interval(correct, total)] == [low, high]


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("correct", "total"), [(0, 1), (1, 1), (3, 7), (9_876, 10_000)])
def test_wilson_agrees_with_scipy(correct, total, level):
    theirs = binomtest(correct, total).proportion_ci(level, method="wilson")
    assert wilson_interval(correct, total, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_is_symmetric_and_exact_at_the_ends():
    low, high = wilson_interval(20, 20)
    assert high == 1.0
    assert low == pytest.approx(1 - wilson_interval(0, 20)[1])
    assert wilson_interval(0, 20)[0] == 0.0


def test_wilson_refuses_what_cannot_be():
    with pytest.raises(DataError, match="the split is empty"):
        wilson_interval(0, 0)
    with pytest.raises(DataError, match="21 of 20 samples cannot be right"):
        wilson_interval(21, 20)
    with pytest.raises(SparsebenchError, match=r"level of 95 is not possible; give one between 0 and 1"):
        wilson_interval(1, 2, level=95)


def test_zeros_are_counted_by_name():
    tensors = {"a": torch.tensor([[0.0, 1.0], [-0.0, 2.0]]), "b": torch.tensor([3]), "none": torch.empty(0)}
    assert count_zeros(tensors) == {"a": (4, 2), "b": (1, 0), "none": (0, 0)}


def test_zeros_of_a_quantized_tensor_equal_its_zero_point():
    values = torch.tensor([0.0, 0.001, 1.0, -1.0])
    assert count_zeros({"q": torch.quantize_per_tensor(values, 0.1, 7, torch.quint8)}) == {"q": (4, 2)}


def test_a_tied_parameter_counts_once():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    net[0].weight.data = torch.eye(3)
    assert parameter_counts(net) == (9, 6)


def converted(scheme, net, batch):
    from sparsebench.registry import SCHEMES

    chosen = SCHEMES.load(scheme)()
    prepared = chosen.prepare(net, (batch,))
    prepared(batch)
    return chosen.convert(prepared)


def saved(net):
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    return file.getvalue()


def test_the_size_of_a_float_network_by_hand():
    net = built(SmallCNN)
    weights, biases, norms = 72 + 1152 + 192 + 120, 16 + 12 + 10, 2 * 8 + 2 * 16
    size = measure_size(net)
    # Running mean and variance are float32, the number of batches is int64.
    assert size.payload_bytes == 4 * (weights + biases + norms) + 4 * norms + 2 * 8
    zeros = sum(int((p == 0).sum()) for p in net.parameters())
    assert size.nonzero_parameters == weights + biases + norms - zeros
    assert size.flash_bytes == 4 * size.nonzero_parameters
    assert size.file_bytes == len(saved(net))
    assert size.deflated_file_bytes == len(zlib.compress(saved(net), 9))


def test_the_size_of_a_static_int8_network_by_hand():
    net = converted("static", built(SmallCNN), images())
    size = measure_size(net)
    weights, channels = 72 + 1152 + 192 + 120, 8 + 16 + 12 + 10
    state = net.state_dict()
    scalars = sum(value.nbytes for name, value in state.items() if name.endswith(("scale", "zero_point"))) + sum(
        buffer.nbytes for buffer in net.buffers()
    )
    # A channel has a bias in float32, a scale in float64 and a zero point in int64.
    assert size.payload_bytes == weights + channels * (4 + 8 + 8) + scalars
    layers = [net.get_submodule(name) for name in ("features.0", "features.3", "hidden", "classifier")]
    int8 = sum(int(layer.weight().int_repr().count_nonzero()) for layer in layers)  # their zero points are 0
    biases = sum(int(layer.bias().count_nonzero()) for layer in layers)
    assert size.nonzero_parameters == int8 + biases
    assert size.flash_bytes == int8 + 4 * biases
    assert size.file_bytes == len(saved(net))


def test_the_size_of_a_dynamic_lstm_looks_into_its_packed_weights():
    net = converted("dynamic", built(DeepLSTM), sequences())
    size = measure_size(net)
    weights = 2 * (24 * 8 + 24 * 6) + 2 * (24 * 12 + 24 * 6) + 120
    biases = 2 * 2 * 2 * 24 + 10
    assert size.payload_bytes >= weights + 4 * biases
    found = measure_size(built(DeepLSTM))
    assert size.payload_bytes < found.payload_bytes / 2
    assert weights * 0.9 + biases <= size.nonzero_parameters <= weights + biases
    assert size.flash_bytes < found.flash_bytes / 2


def test_a_packed_functional_weight_counts():
    size = measure_size(converted("static", built(Functional), images()))
    assert 36 + 40 + 10 - 4 <= size.nonzero_parameters <= 36 + 40 + 10


@pytest.mark.parametrize("scheme", ["static", "both"])
def test_a_network_with_stubs_is_measured(scheme):
    size = measure_size(converted(scheme, built(Stubbed), images()))
    assert size.payload_bytes < measure_size(built(Stubbed)).payload_bytes


def test_tied_tensors_count_once():
    single, tied = nn.Sequential(nn.Linear(64, 64)), nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    tied[1].weight, tied[1].bias = tied[0].weight, tied[0].bias
    assert measure_size(tied).payload_bytes == measure_size(single).payload_bytes == 4 * (64 * 64 + 64)
    assert measure_size(tied).nonzero_parameters == measure_size(single).nonzero_parameters


def test_a_users_own_parameter_called_scale_is_a_parameter():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.register_buffer("zero_point", torch.ones(3))

    assert measure_size(Scaled()).nonzero_parameters == 3
    assert measure_size(Scaled()).payload_bytes == 24


def test_zeros_shrink_only_the_deflated_file_and_the_flash_estimate():
    dense, sparse = nn.Sequential(nn.Linear(100, 100)), nn.Sequential(nn.Linear(100, 100))
    sparse[0].weight.data[:90] = 0
    before, after = measure_size(dense), measure_size(sparse)
    assert (after.payload_bytes, after.file_bytes) == (before.payload_bytes, before.file_bytes)
    assert after.deflated_file_bytes < 0.3 * before.deflated_file_bytes
    assert after.nonzero_parameters == 1000 + 100
    assert after.flash_bytes == 4 * 1100


def test_the_flash_estimate_takes_given_widths_and_rounds_up():
    net = nn.Sequential(nn.Linear(3, 1, bias=False))
    net[0].weight.data = torch.ones(1, 3)
    assert measure_size(net, {"0.weight": 4}).flash_bytes == math.ceil(3 * 4 / 8)


def test_a_network_without_state_has_no_payload():
    size = measure_size(nn.ReLU())
    assert (size.payload_bytes, size.nonzero_parameters, size.flash_bytes) == (0, 0, 0)
    assert size.file_bytes > 0


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_takes_two_bytes(half):
    net = nn.Sequential(nn.Linear(8, 8)).to(half)
    net[0].bias.data.fill_(1)
    net[0].weight.data.fill_(1)
    assert measure_size(net).payload_bytes == measure_size(net).flash_bytes == 2 * 72


IN_A_NEW_PROCESS = """
from small_nets import *
from test_size import converted
from sparsebench.measure import measure_size
for scheme in ("fp32", "dynamic", "static", "both"):
    print(measure_size(converted(scheme, built(SmallCNN), images())), end=" ")
    print(measure_size(converted(scheme, built(DeepLSTM), sequences())))
"""


def test_sizes_are_the_same_in_every_process():
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent / "helpers"), str(here.parents[1])])
    printed = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", IN_A_NEW_PROCESS],
            env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0].count("NetworkSize") == 8
    assert printed[0] == printed[1]


def test_sizes_are_a_frozen_record():
    with pytest.raises(AttributeError):
        NetworkSize(1, 1, 1, 1, 1).payload_bytes = 2
