"""Groups of layers, by pattern and from the names of the network."""

import pytest

from sparsebench.errors import ConfigError
from sparsebench.search.groups import groups_of_layers

RESNET = [
    "conv1",
    *(f"layer{stage}.{block}.conv{n}" for stage in (1, 2, 3) for block in (0, 1, 2) for n in (1, 2)),
]


def test_each_layer_is_a_group_where_they_are_few():
    assert groups_of_layers(["graph"], ["features.0", "features.4"], 8) == {
        "features.0": ("features.0",),
        "features.4": ("features.4",),
    }


def test_blocks_are_groups_where_layers_are_many():
    found = groups_of_layers(["graph"], RESNET, 8)
    assert list(found) == ["conv1", "layer1.*", "layer2.*", "layer3.*"]
    assert found["layer2.*"] == tuple(name for name in RESNET if name.startswith("layer2."))
    assert list(groups_of_layers(["graph"], RESNET, 10))[1] == "layer1.0.*"


def test_neighbours_join_where_blocks_are_many():
    found = groups_of_layers(["graph"], [str(n) for n in range(10)], 4)
    assert list(found) == ["0|1|2", "3|4|5", "6|7", "8|9"]


def test_the_first_pattern_that_matches_holds_and_the_rest_is_one_more_group():
    found = groups_of_layers(["conv1|layer1.0.*", "layer1.*"], RESNET, 8)
    assert next(iter(found.values())) == ("conv1", "layer1.0.conv1", "layer1.0.conv2")
    assert next(iter(found)) == "conv1|layer1.0.conv1|layer1.0.conv2"
    assert len(found) == 3
    assert sorted(name for own in found.values() for name in own) == sorted(RESNET)


def test_a_pattern_without_a_layer_is_an_error_that_suggests_one():
    with pytest.raises(ConfigError, match=r"'conv2' names no prunable layer .* Did you mean 'conv1'\? Its prunable"):
        groups_of_layers(["conv2", "*"], RESNET, 8)
