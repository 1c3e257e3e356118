"""What is used of torch.ao: what it names in public, which traces networks with an author's marks as well."""

import ast
from pathlib import Path

import torch
from awkward_nets import made, pictures, rows
from recordings import recorded
from torch import nn
from torch.ao.nn.quantized import FloatFunctional

from sparsebench import quantization
from sparsebench.backends import build_backend
from sparsebench.quantization.int8 import Static


def test_nothing_private_of_torch_ao_is_used():
    found = []
    for file in Path(quantization.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch.ao"):
                found += [alias.name for alias in node.names if alias.name.startswith("_")]
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr.startswith("_"):
                found += [f"{node.value.id}.{node.attr}"] * (
                    node.value.id in ("ao", "quantize_fx", "intrinsic", "quantized")
                )
    assert found == []


class Borrows(nn.Module):
    """Takes the weight of one of its layers, and calls the others."""

    def __init__(self):
        super().__init__()
        self.taken, self.called, self.classifier = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x):
        hidden = nn.functional.linear(x.mean(1), self.taken.weight, self.taken.bias)
        return self.classifier(torch.relu(self.called(torch.relu(hidden))))


def test_a_layer_whose_weight_is_taken_from_it_stays_in_float_in_dynamic_int8():
    net = made(Borrows)
    compressed = build_backend("eager").compress(net, "dynamic", (rows(),), recorded())
    assert {layer.name: layer.bits for layer in compressed.layers} == {"taken": 32, "called": 8, "classifier": 8}
    with torch.inference_mode():
        expected, found = net(rows()), compressed.network(rows())
    assert float((found - expected).norm()) < 0.1 * float(expected.norm())


class Adds(nn.Module):
    """Adds by a module that its author put there for quantization."""

    def __init__(self):
        super().__init__()
        self.conv, self.sum = nn.Conv2d(1, 1, 3, padding=1), nn.ModuleDict({"of": FloatFunctional()})
        self.classifier = nn.Linear(1, 5)

    def forward(self, x):
        return self.classifier(self.sum["of"].add_relu(x, self.conv(x)).mean((2, 3)))


def test_an_addition_that_an_author_marked_is_computed_in_int8():
    net = made(Adds)
    prepared = Static().prepare(net, (pictures(),))
    prepared(pictures())
    converted = Static().convert(prepared)
    assert "ops.quantized.add_relu" in converted.code
    assert isinstance(net.sum["of"], FloatFunctional)
    with torch.inference_mode():
        expected, found = net(pictures()), converted(pictures())
    assert float((found - expected).norm()) < 0.1 * float(expected.norm())
