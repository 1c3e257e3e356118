"""Dropouts that are called as functions: what is on stays on in int8, and what is off is off."""

import pytest
import torch
from awkward_nets import made, rows
from recordings import recorded
from torch import nn

from sparsebench.backends import build_backend
from sparsebench.backends.checks import check_converted
from sparsebench.errors import OutputsWarning


class Drops(nn.Module):
    """Has dropouts that are called as functions: one that is off in evaluation, and one that may be always on."""

    def __init__(self, always=False):
        super().__init__()
        self.always = always
        self.first, self.second, self.classifier = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 5)

    def forward(self, x):
        x = nn.functional.dropout(torch.relu(self.first(x.mean(1))), 0.5, self.training)
        x = nn.functional.dropout(torch.relu(self.second(x)), p=0.5, training=self.always)
        return self.classifier(x)


@pytest.mark.parametrize("scheme", ["static", "both"])
def test_a_dropout_that_is_always_on_is_on_in_int8_too(scheme):
    net = made(Drops, always=True)
    compressed = build_backend("eager").compress(net, scheme, (rows(),), recorded(rows()))
    torch.manual_seed(0)
    with torch.inference_mode():
        found = torch.stack([compressed.network(rows()) for _ in range(200)])
        float_ones = torch.stack([net(rows()) for _ in range(200)])
    assert float(found.std(0).mean()) == pytest.approx(float(float_ones.std(0).mean()), rel=0.1)
    assert sum(layer.bits == 8 for layer in compressed.layers) == 3
    with pytest.warns(OutputsWarning, match="others in a second call"):
        check_converted(compressed.network, net, (rows(),), f"{scheme} on eager")


def test_a_dropout_that_is_off_stays_off_in_int8():
    net = made(Drops)
    compressed = build_backend("eager").compress(net, "static", (rows(),), recorded(rows()))
    with torch.inference_mode():
        expected, found = net(rows()), compressed.network(rows())
        assert torch.equal(found, compressed.network(rows()))
    assert float((found - expected).norm()) < 0.1 * float((expected - expected.mean(0)).norm())
