"""Pruners beside the global magnitude: layer-wise, random, N:M, and thresholds of their own for named layers."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from sparsebench.errors import NoEffectWarning, PruningError
from sparsebench.pruning import PerLayer, asked_zeros, prunable_weights
from sparsebench.pruning.layer_magnitude import LayerMagnitude
from sparsebench.pruning.magnitude import Magnitude
from sparsebench.pruning.n_m import NM, thresholds
from sparsebench.pruning.random import Random

THRESHOLDS = st.floats(0, 0.99)


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.Flatten(), nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 5)
    )


def zeros(module):
    return int((module.weight == 0).sum())


@given(threshold=THRESHOLDS, seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_layer_magnitude_zeros_in_each_layer_what_torchs_l1_unstructured_does(threshold, seed):
    ours, theirs = net(seed), net(seed)
    LayerMagnitude().prune(ours, threshold)
    for module in (theirs[0], theirs[2], theirs[4]):
        prune.l1_unstructured(module, "weight", threshold)
        prune.remove(module, "weight")
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("proportions", ["global", "magnitude"])
@given(threshold=THRESHOLDS, seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_random_zeros_exactly_the_asked_number_of_weights(proportions, threshold, seed):
    network = net(seed)
    Random(proportions=proportions, seed=seed).prune(network, threshold)
    weights = [weight.parameter for weight in prunable_weights(network)]
    assert sum(int((w == 0).sum()) for w in weights) == round(threshold * sum(w.numel() for w in weights))


def test_random_keeps_its_choice_while_sparsity_grows_and_weights_move():
    network, pruner = net(), Random()
    pruner.prune(network, 0.5)
    first = network[2].weight == 0
    with torch.no_grad():
        network[2].weight.add_(torch.randn_like(network[2].weight))
    pruner.prune(network, 0.7)
    assert (first & (network[2].weight == 0)).sum() == first.sum()


def test_random_chooses_by_its_seed_and_by_nothing_else():
    a, b, c = net(1), net(2), net(1)
    Random(seed=3).prune(a, 0.5)
    torch.manual_seed(99)
    Random(seed=3).prune(b, 0.5)
    Random(seed=4).prune(c, 0.5)
    assert torch.equal(a[2].weight == 0, b[2].weight == 0)
    assert not torch.equal(a[2].weight == 0, c[2].weight == 0)


def test_random_chooses_anew_for_every_seed_of_a_sweep():
    masks = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        network = net()
        torch.manual_seed(seed)
        Random().prune(network, 0.5)
        masks.append(network[2].weight == 0)
    assert torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0], masks[1])


def test_random_by_the_proportions_of_magnitude_has_its_zeros_in_the_same_layers():
    by_chance, by_size = net(), net()
    Random(proportions="magnitude").prune(by_chance, 0.6)
    Magnitude().prune(by_size, 0.6)
    assert [zeros(by_chance[i]) for i in (0, 2, 4)] == [zeros(by_size[i]) for i in (0, 2, 4)]
    assert not torch.equal(by_chance[2].weight == 0, by_size[2].weight == 0)


def test_random_of_unknown_proportions_is_refused():
    with pytest.raises(PruningError, match="proportions is 'layer'; it must be 'global' or 'magnitude'"):
        Random(proportions="layer")


@given(n=st.integers(1, 3), extra=st.integers(1, 4), inputs=st.integers(1, 19), seed=st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_n_m_keeps_the_n_largest_of_every_m_inputs(n, extra, inputs, seed):
    m = n + extra
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(inputs, 4), nn.Linear(4, 2))
    before = network[0].weight.detach().clone()
    (threshold,) = thresholds(n, m)
    NM(n=n, m=m).prune(network, threshold)
    if inputs < m:
        assert torch.equal(network[0].weight, before)
        return
    for row, old in zip(network[0].weight, before, strict=True):
        for start in range(0, inputs, m):
            group = row[start : start + m]
            stay = n if len(group) == m else -(-len(group) * n // m)
            kept = set(old[start : start + m].abs().topk(stay).indices.tolist())
            assert {i for i, value in enumerate(group.tolist()) if value} == kept


def test_two_of_four_along_the_input_channels_of_a_convolution_is_half_of_it():
    network = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    NM().prune(network, 0.5)
    groups = network[0].weight.reshape(4, 2, 4, 3, 3)
    assert ((groups != 0).sum(2) == 2).all()


def test_n_m_is_reached_gradually():
    network = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 2))
    reached = []
    for threshold in (0.1, 0.25, 0.5):
        NM().prune(network, threshold)
        reached.append(zeros(network[0]) / 1024)
    assert reached == pytest.approx([0.1, 0.25, 0.5], abs=1e-3)


def test_a_recurrent_layer_gets_the_pattern_along_its_inputs():
    network = nn.ModuleList([nn.GRU(8, 8), nn.Linear(8, 2)])
    NM(n=1, m=4).prune(network, 0.75)
    assert ((network[0].weight_hh_l0.reshape(24, 2, 4) != 0).sum(-1) == 1).all()


def test_n_m_has_one_threshold():
    assert thresholds() == (0.5,)
    assert thresholds(1, 4) == (0.75,)
    with pytest.raises(PruningError, match="n_m with n = 4 and m = 4 is not possible; keep n of every m weights"):
        thresholds(4, 4)


@pytest.mark.parametrize("pruner", [Magnitude, LayerMagnitude, Random, NM])
def test_layers_that_are_named_stay_dense(pruner):
    network = net()
    before = network[2].weight.detach().clone()
    pruner(keep=("2",)).prune(network, 0.5)
    assert torch.equal(network[2].weight, before)
    assert zeros(network[4])


@pytest.mark.parametrize("pruner", [Magnitude, LayerMagnitude, Random, NM])
def test_a_network_without_prunable_weights_is_told(pruner):
    with pytest.warns(
        NoEffectWarning,
        match="Nothing was pruned: Sequential has no Conv, Linear, LSTM, GRU or Multi",
    ):
        pruner().prune(nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), 0.5)


@pytest.mark.parametrize("pruner", [Magnitude, LayerMagnitude, Random, NM])
def test_pruning_twice_to_one_threshold_changes_nothing(pruner):
    network, chosen = net(), pruner()
    chosen.prune(network, 0.5)
    once = copy.deepcopy(network.state_dict())
    chosen.prune(network, 0.5)
    assert all(torch.equal(once[key], value) for key, value in network.state_dict().items())


def per_layer(network, patterns, threshold, target):
    PerLayer(Magnitude(keep=tuple(patterns)), patterns, target).prune(network, threshold)
    return network


def test_named_layers_reach_thresholds_of_their_own_and_the_others_that_of_the_sweep():
    network = per_layer(net(), {"0": 0.25, "2": 0.0}, 0.9, 0.9)
    assert zeros(network[0]) == round(0.25 * 216)
    assert zeros(network[2]) == 0
    assert zeros(network[4]) == round(0.9 * 360)
    assert asked_zeros(network, 0.9, {"0": 0.25, "2": 0.0}) == (54 + 324, 216 + 360)


def test_named_layers_have_the_same_share_of_their_thresholds_while_sparsity_grows():
    assert zeros(per_layer(net(), {"0": 0.5}, 0.45, 0.9)[0]) == round(0.25 * 216)


def test_a_pattern_names_several_layers_and_the_first_that_matches_holds():
    network = per_layer(net(), {"0": 0.5, "*": 0.1}, 0.9, 0.9)
    assert zeros(network[0]) == 108
    assert zeros(network[2]) == round(0.1 * 864)


def test_a_pattern_that_names_no_prunable_layer_is_refused_with_the_layers_there_are():
    with pytest.raises(PruningError, match=r"per_layer names 'featurs', which is no prunable layer.*: 0, 2, 4\."):
        per_layer(net(), {"featurs": 0.5}, 0.9, 0.9)
