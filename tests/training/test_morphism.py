import pytest
import torch
from torch import nn

from sparsebench.errors import ModelError
from sparsebench.training.weights import copy_weights


def test_equal_shapes_are_copied_whole_and_in_place():
    old, net = nn.Linear(3, 2), nn.Linear(3, 2)
    weight = net.weight
    assert copy_weights(old, net) is net
    assert net.weight is weight
    assert torch.equal(net.weight, old.weight)
    assert torch.equal(net.bias, old.bias)


def test_a_state_dict_is_as_good_as_a_network():
    old, net = nn.Linear(3, 2), nn.Linear(3, 2)
    copy_weights(old.state_dict(), net)
    assert torch.equal(net.weight, old.weight)


@pytest.mark.parametrize(
    ("old_sizes", "sizes"), [((4, 6), (6, 4)), ((6, 4), (4, 6)), ((2, 2), (6, 6)), ((6, 6), (2, 2))]
)
def test_the_overlapping_block_is_copied_and_the_rest_kept(old_sizes, sizes):
    old, net = nn.Conv2d(*old_sizes, 3), nn.Conv2d(*sizes, 5)
    kept = net.weight.detach().clone()
    copy_weights(old, net)
    outputs, inputs = min(old_sizes[1], sizes[1]), min(old_sizes[0], sizes[0])
    assert torch.equal(net.weight[:outputs, :inputs, :3, :3], old.weight[:outputs, :inputs])
    kept[:outputs, :inputs, :3, :3] = old.weight.detach()[:outputs, :inputs]
    assert torch.equal(net.weight, kept)


def test_buffers_of_no_dimension_and_of_whole_numbers_are_copied():
    old, net = nn.BatchNorm2d(4), nn.BatchNorm2d(6)
    old(torch.randn(2, 4, 3, 3))
    copy_weights(old, net)
    assert int(net.num_batches_tracked) == 1
    assert net.num_batches_tracked.dtype == torch.int64
    assert torch.equal(net.running_mean[:4], old.running_mean)
    assert not bool(net.running_mean[4:].any())


def test_precision_is_converted_to_that_of_the_new_network():
    old, net = nn.Linear(3, 2).double(), nn.Linear(3, 2).bfloat16()
    copy_weights(old, net)
    assert torch.equal(net.weight, old.weight.bfloat16())


def test_recurrent_layers_of_other_sizes_are_copied():
    old, net = nn.GRU(3, 4, num_layers=2), nn.GRU(3, 4, num_layers=1)
    copy_weights(old, net)
    assert torch.equal(net.weight_hh_l0, old.weight_hh_l0)


def test_entries_of_other_dimensions_are_skipped_where_something_else_fits():
    old = nn.Sequential(nn.Linear(3, 3), nn.Conv2d(3, 3, 1))
    net = nn.Sequential(nn.Linear(3, 3), nn.Conv1d(3, 3, 1))
    kept = net[1].weight.clone()
    copy_weights(old, net)
    assert torch.equal(net[0].weight, old[0].weight)
    assert torch.equal(net[1].weight, kept)


def test_the_old_network_is_not_changed_and_not_shared():
    old, net = nn.Linear(3, 2), nn.Linear(3, 2)
    before = old.weight.detach().clone()
    copy_weights(old, net)
    nn.init.zeros_(net.weight)
    assert torch.equal(old.weight, before)


def test_a_network_without_weights_takes_none():
    net = nn.ReLU()
    assert copy_weights(nn.Linear(2, 2), net) is net


def test_nothing_in_common_names_both_sides():
    with pytest.raises(
        ModelError, match=r"share no parameter name\. The old one has state_dict; the new one has weight"
    ):
        copy_weights({"state_dict": {}}, nn.Linear(2, 2))


def test_nothing_of_the_same_dimensions_names_every_entry():
    old = nn.Conv2d(2, 2, 1, bias=False)
    with pytest.raises(ModelError, match=r"weight \(4 dimensions in the old network, 2 in the new\)"):
        copy_weights(old, nn.Linear(2, 2, bias=False))


@pytest.mark.parametrize(("old", "kind"), [(None, "NoneType"), ("net.pth", "str")])
def test_what_is_no_network_is_refused(old, kind):
    with pytest.raises(ModelError, match=f"Cannot copy weights from {kind}; give the old network or its state dict"):
        copy_weights(old, nn.Linear(2, 2))
