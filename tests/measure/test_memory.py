"""Working memory, against counts by hand."""

from contextlib import suppress

import pytest
import torch
from small_nets import DeepLSTM, SmallCNN, SmallGRU, Stubbed, built, images, packed, sequences
from torch import nn

from sparsebench.measure import working_memory
from sparsebench.registry import SCHEMES


def test_what_a_layer_reads_and_makes_is_live_at_the_same_time():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    # 64 + 144, 144 (a view) and 144 + 10 activations.
    assert working_memory(net, (images(1),)) == 4 * (64 + 4 * 36)


def test_what_works_element_by_element_writes_over_what_it_reads():
    net = built(SmallCNN)
    # The second convolution: 8 × 8 × 8 values in and 16 × 8 × 8 out, on which batch norm and ReLU work.
    assert working_memory(net, (images(1),)) == 4 * (8 + 16) * 64


def test_inputs_are_never_written_over():
    assert working_memory(nn.ReLU(), (torch.ones(1, 2, 3),)) == 4 * 12


def test_a_layer_that_works_in_place_or_gives_a_view_needs_its_memory_once():
    for layer in (nn.ReLU(inplace=True), nn.Flatten(), nn.Identity()):
        assert working_memory(layer, (torch.ones(1, 2, 3),)) == 4 * 6


class Joined(nn.Module):
    """A layer of two inputs and nested outputs: two halves of one tensor, and something that is no tensor."""

    def forward(self, first, second=None):
        halves = (first + second["x"]).chunk(2, dim=1)
        return {"halves": halves, "more": [None, 3]}


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.joined = Joined()

    def forward(self, x):
        return self.joined(x, second={"x": x * 2})["halves"]


def test_nested_inputs_are_added_up():
    assert working_memory(Joined(), (torch.ones(1, 6), {"x": torch.ones(1, 6)})) == 4 * 18


def test_a_sum_takes_the_place_of_what_nothing_reads_later():
    assert working_memory(Nested(), (torch.ones(1, 6),)) == 4 * 12


def test_a_recurrent_layer_counts_its_states():
    # (1, 5, 8) in; out (1, 5, 12) and two states of (4, 1, 6).
    assert working_memory(built(DeepLSTM), (sequences(1),)) == 4 * (40 + 60 + 2 * 24)


def test_of_packed_sequences_the_longest_counts():
    # 5 steps of 8 in and of 6 out, a state of 6.
    assert working_memory(built(SmallGRU), (packed((2, 5, 4)),)) == 4 * (40 + 30 + 6)
    assert working_memory(built(SmallGRU), (packed((5,)),)) == 4 * (40 + 30 + 6)


def test_each_tensor_has_its_own_width():
    net = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 8))
    assert working_memory(net, (torch.ones(1, 8),)) == 4 * 12
    assert working_memory(net.half(), (torch.ones(1, 8).half(),)) == 2 * 12


def test_what_depends_on_no_input_is_no_activation():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.ones(1, 6))

        def forward(self, x):
            return x + torch.cat([self.shift, torch.zeros(1000, 6)])[:1]

    assert working_memory(Shifted(), (torch.ones(1, 6),)) == 4 * 12


def quantized(kind, example):
    scheme = SCHEMES.load("static")()
    prepared = scheme.prepare(built(kind), example)
    prepared(*example)
    return scheme.convert(prepared)


@pytest.mark.parametrize("kind", [SmallCNN, Stubbed])
def test_layers_held_in_int8_need_a_byte_for_each_activation(kind):
    example = (images(1),)
    # Batch norm and ReLU are part of the convolution. Of SmallCNN the second: 8 × 64 in and 16 × 64 out; of Stubbed the
    # float input beside its int8 copy: 64 × 4 + 64, less than 64 + 8 × 36.
    expected = {SmallCNN: 24 * 64, Stubbed: 64 + 8 * 36}[kind]
    assert working_memory(quantized(kind, example), example) == expected


class Fails(nn.Module):
    def forward(self, x):
        raise RuntimeError("no")


def test_the_network_is_left_as_it_was():
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(1), Fails()).train()
    with suppress(RuntimeError):
        working_memory(net, (images(1),))
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert int(net[1].num_batches_tracked) == 0
