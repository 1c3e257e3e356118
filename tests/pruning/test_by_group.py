"""Thresholds for groups of layers: as many zeros as are asked for, shared out as the groups' thresholds say."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsebench.errors import PruningError
from sparsebench.pruning import prunable_weights
from sparsebench.pruning.by_group import ByGroup, shared_out
from sparsebench.pruning.magnitude import Magnitude


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 30), nn.Linear(30, 10), nn.Linear(10, 3))


def zeros(module):
    return int((module.weight == 0).sum())


def test_each_group_reaches_its_own_threshold_where_the_training_asks_for_as_many():
    network = ByGroup(thresholds={"0": 0.5, "1|2": 0.9}).prune(net(), (0.5 * 200 + 0.9 * 900) / 1100)
    assert zeros(network[0]) == 100
    assert zeros(network[1]) + zeros(network[2]) == 810
    assert zeros(network[3]) == 0


def test_within_a_group_the_smallest_weights_of_all_its_layers_go():
    network, pair = net(), nn.Sequential(*copy.deepcopy(net())[1:3], nn.Linear(10, 3))
    ByGroup(thresholds={"0": 0.0, "1|2": 0.6}).prune(network, 0.6 * 900 / 1100)
    Magnitude().prune(pair, 0.6)
    assert torch.equal(network[1].weight, pair[0].weight)
    assert torch.equal(network[2].weight, pair[1].weight)


def test_one_group_of_all_layers_is_the_pruner_itself():
    ours, theirs = ByGroup(thresholds={"*": 0.3}).prune(net(), 0.77), Magnitude().prune(net(), 0.77)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


@given(threshold=st.floats(0, 0.99), own=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_there_are_exactly_as_many_zeros_as_the_threshold_asks_for(threshold, own, seed):
    network = net(seed)
    ByGroup(thresholds={"0|2": own[0], "1": own[1]}).prune(network, threshold)
    weights = [weight.parameter for weight in prunable_weights(network)]
    assert sum(int((w == 0).sum()) for w in weights) == round(threshold * 1100)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_zeros_are_shared_out_within_one_of_the_exact_share(data):
    counts = data.draw(st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(1, 500), min_size=1))
    own = {name: data.draw(st.floats(0, 0.99)) for name in counts}
    total = data.draw(st.integers(0, sum(counts.values()) - len(counts)))
    found = shared_out(total, counts, own)
    assert sum(found.values()) == total
    assert all(0 <= found[name] < counts[name] for name in counts)
    asked = sum(own[name] * counts[name] for name in counts)
    if 0 < total <= asked:
        exact = {name: total / asked * own[name] * counts[name] for name in counts}
        # Where a group would lose its last weight, the others take over.
        over = sum(max(0.0, exact[name] - (counts[name] - 1)) for name in counts)
        assert all(abs(found[name] - exact[name]) <= 1 + over + 1e-6 for name in counts)


@pytest.mark.parametrize(
    ("thresholds", "told"),
    [
        (None, "needs thresholds, a table"),
        ({"0": 0.5}, "layer '1' belongs to no group"),
        ({"*": 0.5, "1": 0.2}, r"layer '1' belongs to '\*' and to '1'; name it once"),
        ({"*": 0.5, "features": 0.2}, "group 'features' names no prunable layer"),
        ({"*": 1.0}, r"not in \[0, 1\)"),
    ],
)
def test_thresholds_that_say_too_little_or_too_much_are_refused(thresholds, told):
    with pytest.raises(PruningError, match=told):
        ByGroup(thresholds=thresholds).prune(net(), 0.5)


@pytest.mark.parametrize("name", ["structured", "n_m", "by_group"])
def test_only_pruners_of_single_weights_choose_within_a_group(name):
    with pytest.raises(PruningError, match=f"cannot choose by '{name}'"):
        ByGroup(thresholds={"*": 0.5}, pruner=name)
