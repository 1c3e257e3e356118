"""OpenVINO's packed weights: on where the processor has AMX int8 and zeros pass the rate, refused elsewhere."""

import pytest
import torch
from recordings import recorded, stored
from torch import nn

from sparsebench.backends import build_backend, build_offer, probe
from sparsebench.errors import SparsebenchError

pytest.importorskip("openvino")
pytest.importorskip("nncf")

RATE = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
INPUTS = torch.rand(16, 64, generator=torch.Generator().manual_seed(0))


def network(zeros):
    """Two linear layers, of the first of which such a share is zero."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).eval()
    with torch.no_grad():
        weight = net[0].weight
        weight[weight.abs() <= weight.abs().quantile(zeros)] = 0
    return net


def compressed(zeros, scheme="static", **options):
    backend = build_backend("openvino", options)
    return backend.compress(network(zeros), scheme, (INPUTS,), recorded(INPUTS, INPUTS.flip(0)))


def on_a_processor_with(monkeypatch, *flags):
    monkeypatch.setattr(probe, "cpu_flags", lambda: ("avx2", "avx512_vnni", *flags))


def rate_of(made):
    return made.network._compiled.get_property(RATE)


def kinds(made):
    return {layer.name: layer.kind for layer in made.layers}


def test_without_amx_the_option_is_refused_with_the_reason_and_by_itself_it_is_off(monkeypatch):
    on_a_processor_with(monkeypatch)
    assert build_offer("openvino", {"sparse_weights": 0.8}).problem() == (
        "sparse_weights = 0.8 of backend 'openvino' needs a processor with AMX int8, and this one has none; leave the "
        "option away, or run where there is."
    )
    assert build_offer("openvino").problem() is None
    made = compressed(0.9)
    assert RATE not in made.network.settings
    assert rate_of(made) == 1.0
    assert kinds(made) == {"0": "MatMul", "2": "MatMul"}


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(SparsebenchError, match=r"it must be a share above 0, at most 1\."):
        build_offer("openvino", {"sparse_weights": share})


def test_with_amx_layers_with_enough_zeros_are_packed_and_the_audit_names_them(monkeypatch, tmp_path):
    on_a_processor_with(monkeypatch)
    wanted = compressed(0.9)
    on_a_processor_with(monkeypatch, "amx_int8")
    made = compressed(0.9)
    assert rate_of(made) == pytest.approx(0.75)
    assert kinds(made) == {"0": "MatMul, zeros packed", "2": "MatMul"}
    assert torch.equal(made.network(INPUTS), wanted.network(INPUTS))
    assert made.files == wanted.files
    backend = build_backend("openvino")
    again = backend.restore(network(0.9), "static", (INPUTS,), stored(made, tmp_path))
    for own in (again, backend.specialise(again, (INPUTS,), threads=1)):
        assert own._compiled.get_property(RATE) == pytest.approx(0.75)


@pytest.mark.parametrize(("zeros", "share"), [(0.5, None), (0.9, 0.95)])
def test_with_amx_layers_with_fewer_zeros_are_not_packed(zeros, share, monkeypatch):
    on_a_processor_with(monkeypatch, "amx_int8")
    made = compressed(zeros, **({} if share is None else {"sparse_weights": share}))
    assert rate_of(made) == 1.0
    assert set(kinds(made).values()) == {"MatMul"}


@pytest.mark.parametrize("scheme", ["fp32", "weight_only"])
def test_only_int8_products_are_packed_and_fp32_is_computed_in_f32(scheme, monkeypatch):
    on_a_processor_with(monkeypatch, "amx_int8", "amx_bf16")
    made = compressed(0.9, scheme)
    assert RATE not in made.network.settings
    assert str(made.network._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()) == "f32"
