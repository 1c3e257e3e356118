"""Networks that take any keyword, are wrapped, or ask their weights what they are, in static int8 of torch."""

from functools import wraps

import pytest
import torch
from torch import nn

from sparsebench.backends import build_backend
from sparsebench.quantization import Recording, audit
from sparsebench.tensors import scores_in


def wrapped(forward):
    @wraps(forward)
    def call(self, *given, **named):
        return forward(self, *given, **named)

    return call


class AnyKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x, mask=None, other=None, **kwargs):
        if x.dtype != self.first.weight.dtype or x.shape[1] != self.first.weight.shape[1] or kwargs:
            raise ValueError("not what the weights are for")
        hidden = torch.relu(self.first(x))
        hidden = hidden if mask is None else hidden * mask
        return {"hidden": hidden, "logits": self.second(hidden if other is None else hidden + other)}


class Wrapped(AnyKeyword):
    forward = wrapped(AnyKeyword.forward)


@pytest.mark.parametrize("kind", [AnyKeyword, Wrapped])
@pytest.mark.parametrize("second", ["given", "left out"])
def test_a_network_that_takes_any_keyword_runs_in_static_int8(kind, second):
    net = kind().eval()
    mask = torch.ones(8, 16) if second == "given" else None
    example = (torch.randn(8, 6), mask, torch.ones(8, 16))
    batches = Recording(net, lambda network: [network(*example) for _ in range(3)], 3)
    made = build_backend("eager").compress(net, "static", example, batches).network
    # What is None in the example always is; what is not, is read anew in each call.
    half = (example[0], None if mask is None else 0.5 * mask, example[2])
    wanted = net(*half)["logits"]
    assert float((scores_in(made(*half)) - wanted).detach().abs().max()) < 0.1 * float(wanted.detach().abs().max())
    assert {fact.bits for fact in audit(made)} == {8}


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.only = nn.Linear(6, 3)

    def forward(self, x):
        return self.only(x), x


def test_a_network_that_says_what_it_takes_returns_all_that_it_returned():
    net, x = Plain().eval(), torch.randn(8, 6)
    batches = Recording(net, lambda network: [network(x)], 1)
    found = build_backend("eager").compress(net, "static", (x,), batches).network(x)
    assert [tuple(part.shape) for part in found] == [(8, 3), (8, 6)]
