"""A program that was made anew computes the same bits as the one that it was made of."""

import io

import pytest
import torch
from torch import nn
from torch.export import Dim

from sparsebench.export.files.pt2 import rewrite


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.places, self.lstm, self.head = nn.Embedding(9, 4), nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, words):
        return self.head(self.lstm(self.places(words))[0][:, -1])


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.arange(3.0))

    def forward(self, first, others):
        with torch.no_grad():
            doubled = first * 2
        count = first.shape[0]
        return {"sum": doubled + others["k"][0] + self.shift, "rest": (first.mean() / count, torch.ones(count))}


class Branches(nn.Module):
    def forward(self, values):
        return torch.cond(values.sum() > 0, lambda v: v + 1, lambda v: v - 1, (values,))


NETWORKS = {
    "convolutions": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        (torch.randn(2, 3, 8, 8),),
    ),
    "sequences": (Sequences(), (torch.ones(2, 5, dtype=torch.long),)),
    "attention": (nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), (torch.randn(2, 3, 8),)),
    "nested": (Nested(), (torch.randn(2, 3), {"k": [torch.randn(2, 3)]})),
    "branches": (Branches(), (torch.randn(2, 3),)),
}


def int8_network():
    """A network in int8 by PT2E, which calls operators that a library registers, and its inputs."""
    pytest.importorskip("torchao")
    from sparsebench.backends.inductor import quantization

    inputs = (torch.randn(2, 1, 8, 8),)
    prepared = quantization.prepare(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()).eval(), inputs)
    prepared(*inputs)
    return quantization.convert(prepared)[0], inputs


@pytest.mark.parametrize("name", [*NETWORKS, "int8"])
def test_what_is_written_anew_computes_the_same_bits(name):
    network, inputs = NETWORKS[name] if name in NETWORKS else int8_network()
    flat = torch.utils._pytree.tree_map(lambda _: {0: Dim("batch", min=1)}, inputs)
    program = torch.export.export(
        network if name == "int8" else network.eval(), inputs, dynamic_shapes=flat if name != "branches" else None
    )
    saved = io.BytesIO()
    torch.export.save(program, saved)
    written, _ = rewrite(saved.getvalue())
    again = torch.export.load(io.BytesIO(written))
    expected, found = program.module()(*inputs), again.module(check_guards=False)(*inputs)
    before, after = (torch.utils._pytree.tree_flatten(one) for one in (expected, found))
    assert before[1] == after[1]
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
