"""Weights that two layers of an exported network share: counted once, as the file holds them once, and quantized."""

import pytest
import torch
from awkward_nets import made, words
from recordings import recorded
from torch import nn

from sparsebench.backends import build_backend

WAYS = [(backend, scheme) for backend in ("onnxruntime", "openvino") for scheme in ("fp32", "static")]


class Shares(nn.Module):
    """Two layers of one weight, and a classifier whose weight is that of the embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(40, 16)
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.classifier = nn.Linear(16, 40)
        self.classifier.weight = self.embed.weight

    def forward(self, words):
        hidden = torch.relu(self.first(self.embed(words).mean(1)))
        return self.classifier(torch.relu(self.second(hidden)))


@pytest.fixture(scope="module", params=WAYS, ids=" ".join)
def compressed(request):
    backend, scheme = request.param
    net, fed = made(Shares), words(64)
    return build_backend(backend).compress(net, scheme, (fed[:8],), recorded(fed)), net, fed, scheme


def test_a_weight_that_two_layers_share_is_counted_in_the_first_of_them(compressed):
    layers = {layer.name: layer for layer in compressed[0].layers}
    assert (layers["first"].weights, layers["second"].weights) == (256, 0)
    assert layers["first"].zeros == layers["second"].zeros == 0
    # Each of them multiplies by it.
    assert (layers["first"].macs, layers["second"].macs) == (256, 256)
    assert layers["first"].bits == layers["second"].bits == (8 if compressed[3] == "static" else 32)
    held = sum(layer.weights for layer in layers.values())
    assert held == sum(one.elements for one in compressed[0].export.parameters if one.elements not in (16, 40))


def test_an_embedding_that_is_the_classifier_too_agrees_with_the_float_network(compressed):
    made_of, net, fed, scheme = compressed
    with torch.inference_mode():
        expected, found = net(fed), made_of.network(fed)
        assert made_of.network(fed[:1]).shape == (1, 40)
    spread = float((expected - expected.mean(0)).norm())
    assert float((found - expected).norm()) < (0.1 if scheme == "static" else 1e-4) * spread
