"""No operator that a program may call lays hold of memory beside its tensors, whatever sizes it is given."""

import io

import pytest
import torch
from torch import nn

from sparsebench.errors import SparsebenchError
from sparsebench.export.files import operators
from sparsebench.export.files.guarded import INSTEAD, guard
from sparsebench.export.files.pt2 import rewrite


@pytest.mark.parametrize("name", ["_reshape_alias", "embedding_bag", "native_batch_norm", "_fft_r2c", "lstm.data"])
def test_an_operator_that_believes_what_it_is_told_of_memory_is_not_called(name):
    target = f"torch.ops.aten.{name}" + ("" if "." in name else ".default")
    assert operators.namespace_of(target) is None


def test_what_one_of_them_is_refused_for_is_real():
    beyond = torch.ops.aten._reshape_alias(torch.ones(1), [1000], [1])
    assert beyond.numel() * beyond.itemsize > beyond.untyped_storage().nbytes()


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.second = nn.LSTM(8, 4, proj_size=2)
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, x):
        x = self.second(self.first(x)[0].transpose(0, 1))[0].transpose(0, 1)
        return self.attention(x, x, x, need_weights=False)[0]


CONVOLUTIONS = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


@pytest.mark.parametrize(
    ("network", "example", "decomposed", "by_guard"),
    [
        (CONVOLUTIONS, torch.randn(2, 1, 5, 5), True, {"_native_batch_norm_legit_no_training.default"}),
        (Sequences(), torch.randn(2, 5, 3), False, {"lstm.input", "scaled_dot_product_attention.default"}),
    ],
    ids=["convolutions", "sequences"],
)
def test_networks_that_call_them_compute_the_same_bits_by_way_of_the_guard(network, example, decomposed, by_guard):
    program = torch.export.export(network.eval(), (example,))
    program = program.run_decompositions() if decomposed else program
    saved = io.BytesIO()
    torch.export.save(program, saved)
    module = torch.export.load(io.BytesIO(rewrite(saved.getvalue())[0])).module(check_guards=False)
    assert {str(node.target) for node in module.graph.nodes} & INSTEAD.keys() == {f"aten.{name}" for name in by_guard}
    expected = program.module()(example)
    guard(module)
    assert not {str(node.target) for node in module.graph.nodes} & INSTEAD.keys()
    with torch.inference_mode():
        assert torch.equal(module(example), expected)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("aten.lstm.input", (torch.ones(5, 2, 9), [torch.ones(1, 2, 4)] * 2, [torch.ones(16, 3), torch.ones(16, 4)])),
        (
            "aten.scaled_dot_product_attention.default",
            (torch.ones(1, 2, 4, 8), torch.ones(1, 2, 6, 8), torch.ones(1, 2, 7, 8)),
        ),
        (
            "aten._scaled_dot_product_flash_attention_for_cpu.default",
            (torch.ones(1, 1, 4, 8), torch.ones(1, 2, 5, 8), torch.ones(1, 2, 5, 8)),
        ),
    ],
)
def test_sizes_that_do_not_fit_are_a_sentence(name, arguments):
    rest = (False, 1, 0.0, False, False, False) if "lstm" in name else ()
    with pytest.raises(SparsebenchError, match=r"has an operator of .* do not fit each other; export the networ"):
        INSTEAD[name](*arguments, *rest)


def test_sizes_of_a_batch_norm_that_do_not_fit_are_an_error_of_torch():
    with pytest.raises(RuntimeError, match="running_mean should contain 4000 elements not 1"):
        INSTEAD["aten._native_batch_norm_legit_no_training.default"](
            torch.ones(2, 4000, 3), torch.ones(4000), torch.ones(4000), torch.ones(1), torch.ones(1), 0.1, 1e-5
        )
