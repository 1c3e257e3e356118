"""TorchInductor: what it offers, what it compiles, and what its audit finds in the compiled graph."""

import copy
import platform
import warnings

import pytest
import torch
from awkward_nets import BatchStatistics, GroupedUp, made, pictures
from recordings import recorded, stored
from small_nets import SmallCNN, Untraceable, built, images, sequences
from torch import nn

from sparsebench.backends import build_backend, probe
from sparsebench.backends.inductor import network, offer
from sparsebench.errors import NoEffectWarning, QuantizationError
from sparsebench.pruning import all_weights, prune_net
from sparsebench.quantization import warn_no_effect

pytestmark = pytest.mark.skipif(
    build_backend("inductor").problem() is not None, reason=str(build_backend("inductor").problem())
)
x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="int8 kernels of inductor are for x86"
)


@pytest.fixture(scope="module")
def static():
    """A pruned network in int8, with all that was said while it was compiled."""
    net = prune_net(built(SmallCNN), 0.5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = build_backend("inductor").compress(net, "static", (images(),), recorded(images()))
    return net, made, [str(warning.message) for warning in caught]


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    assert build_backend("inductor").problem() == (
        "inductor compiles with a C++ compiler, and no-such-compiler was not found; install one, or name yours in CXX."
    )
    with pytest.raises(QuantizationError, match="no-such-compiler was not found"):
        build_backend("inductor").compress(built(SmallCNN), "fp32", (images(),), recorded())


def test_without_torchao_int8_is_not_offered_and_float_is(monkeypatch):
    found = probe.find_spec
    monkeypatch.setattr(probe, "find_spec", lambda name: None if name == "torchao" else found(name))
    backend = build_backend("inductor")
    assert backend.offers("fp32") is None
    assert backend.offers("static") == (
        "inductor offers static by torchao, which is not installed; run 'pip install sparsebench[torchao]'."
    )


@pytest.mark.parametrize(("kind", "sizes"), [(BatchStatistics, [8, 24, 3]), (GroupedUp, [8])])
def test_a_network_of_batch_statistics_is_compiled_for_each_batch_size_and_no_other_is(monkeypatch, kind, sizes):
    compiled = []

    def instead(graph, inputs, *_):
        compiled.append(len(inputs[0]))
        return copy.deepcopy(graph)

    monkeypatch.setattr(network, "_compile", instead)
    net = made(kind)
    found = build_backend("inductor").compress(net, "fp32", (pictures(8),), recorded()).network
    with torch.inference_mode():
        for samples in (24, 3, 24):
            assert torch.allclose(found(pictures(samples)), net(pictures(samples)), atol=1e-5)
    assert compiled == sizes


def test_static_is_offered_on_x86_alone(monkeypatch):
    monkeypatch.setattr(offer.platform, "machine", lambda: "arm64")
    assert build_backend("inductor").offers("static") == (
        "inductor offers static by int8 kernels for x86 alone, and this is arm64."
    )


def test_all_eight_bits_of_activations_are_refused_where_they_would_overflow(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    backend = build_backend("inductor", {"reduce_range": False})
    with pytest.raises(QuantizationError, match=r"reduce_range = false needs a CPU with VNNI.*Leave the option out"):
        backend.compress(built(SmallCNN), "static", (images(),), recorded(images()))


def test_control_flow_on_data_is_refused_with_the_reason_and_the_backend_that_takes_it():
    with pytest.raises(QuantizationError, match=r"torch.export cannot follow Untraceable.*Backend 'eager' takes it in"):
        build_backend("inductor").compress(built(Untraceable), "fp32", (torch.randn(2, 8),), recorded())


@x86
def test_the_audit_is_of_the_kernels_that_run(static):
    _, made, _ = static
    facts = {fact.name: fact for fact in made.layers}
    assert list(facts) == ["features.0", "features.3", "hidden", "classifier"]
    assert {name: fact.weights for name, fact in facts.items()} == {
        "features.0": 8 * 9,
        "features.3": 16 * 8 * 9,
        "hidden": 16 * 12,
        "classifier": 12 * 10,
    }
    int8 = {name for name, fact in facts.items() if fact.bits == 8}
    assert "features.3" in int8
    assert all(facts[name].computed_in == "int8" for name in int8)
    assert all("kept in float32" in fact.reason for name, fact in facts.items() if name not in int8)


@x86
def test_zeros_of_the_sparse_network_stay_zeros_in_int8(static):
    net, made, _ = static
    before = {weight.layer: int((weight.parameter == 0).sum()) for weight in all_weights(net)}
    assert all(fact.zeros >= before[fact.name] for fact in made.layers)
    assert sum(before.values()) > 0


@x86
def test_what_is_stored_is_int8_and_not_the_float_weights_that_pt2e_keeps_beside(static):
    net, made, _ = static
    weights = sum(weight.parameter.numel() for weight in all_weights(net))
    stored_in_int8 = sum(part.elements for part in made.export.parameters if part.bits == 8)
    assert stored_in_int8 == weights
    assert made.export.payload_bytes < 2 * weights


@x86
def test_the_libraries_say_nothing_to_the_user(static):
    assert static[2] == []


@x86
def test_batches_of_any_size_give_the_same_as_one_by_one(static):
    _, made, _ = static
    batch = torch.cat([images(), images(), images()[:1]])
    whole = made.network(batch)
    assert whole.shape == (len(batch), 10)
    parts = torch.cat([made.network(sample[None]) for sample in batch])
    assert torch.equal(whole, parts)


@x86
def test_the_calibration_of_another_network_is_refused(static, tmp_path):
    _, made, _ = static
    files = stored(made, tmp_path)
    other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10)).eval()
    with pytest.raises(QuantizationError):
        build_backend("inductor").restore(other, "static", (images(),), files)


@x86
def test_an_lstm_stays_in_float_under_pt2e_and_the_record_warns_of_it():
    class LSTMOnly(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(8, 6, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0][:, -1]

    made = build_backend("inductor").compress(built(LSTMOnly), "static", (sequences(),), recorded(sequences()))
    assert {fact.bits for fact in made.layers} == {32}
    with pytest.warns(NoEffectWarning, match=r"static quantized nothing: .*LSTM.*PT2E"):
        warn_no_effect("static", made.layers)
