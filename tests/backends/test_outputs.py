"""Networks that return more than scores, in a mapping or an object: exported networks return the scores alone."""

from types import SimpleNamespace

import pytest
import torch
from awkward_nets import made, pictures
from recordings import recorded
from torch import nn

from sparsebench.backends import build_backend
from sparsebench.backends.checks import check_converted
from sparsebench.errors import OutputsWarning


class Answers(nn.Module):
    """Has its scores behind features, in a form of its own."""

    def __init__(self, form):
        super().__init__()
        self.form, self.conv, self.classifier = form, nn.Conv2d(1, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        features = torch.relu(self.conv(x)).amax((2, 3))
        return self.form(features, self.classifier(features))


def in_mapping(features, logits):
    return {"features": features, "logits": logits, "loss": None}


def in_object(features, logits):
    return SimpleNamespace(features=features, logits=logits)


@pytest.mark.parametrize("form", [in_mapping, in_object])
@pytest.mark.parametrize(("backend", "scheme"), [("onnxruntime", "fp32"), ("openvino", "static")])
def test_scores_in_a_mapping_or_an_object_are_what_an_exported_network_returns(backend, scheme, form):
    net, fed = made(Answers, form), pictures()
    compressed = build_backend(backend).compress(net, scheme, (fed[:8],), recorded(fed))
    with torch.inference_mode():
        expected, found = net(fed), compressed.network(fed)
    expected = expected["logits"] if form is in_mapping else expected.logits
    spread = float((expected - expected.mean(0)).norm())
    assert float((found - expected).norm()) < (1e-4 if scheme == "fp32" else 0.1) * spread
    assert {layer.name for layer in compressed.layers} == {"conv", "classifier"}


def test_what_it_returns_is_still_compared_with_the_float_network():
    class Other(nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 5)

    with pytest.warns(OutputsWarning, match="its outputs differ from those of the float network"):
        check_converted(Other(), made(Answers, in_mapping), (pictures(),), "int8")
