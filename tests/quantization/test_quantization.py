"""Schemes: what they convert, what they leave, how calibration is kept, and what they say when they cannot."""

import copy
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_nets import (
    Decoder,
    DeepLSTM,
    Functional,
    SmallCNN,
    SmallGRU,
    Stubbed,
    StubbedDecoder,
    StubbedGRU,
    Untraceable,
    built,
    images,
    packed,
    sequences,
)
from torch import nn
from torch.ao.nn import quantized
from torch.ao.nn.intrinsic import quantized as fused
from torch.ao.nn.quantized import dynamic
from torch.ao.quantization import quantize_dynamic
from torch.nn.utils import prune

from sparsebench.errors import QuantizationError
from sparsebench.quantization import base, calibration_state, load_calibration_state
from sparsebench.quantization.floats import Float32
from sparsebench.quantization.int8 import Both, Dynamic, Static
from sparsebench.registry import SCHEMES

CALIBRATED = [
    pytest.param(scheme, kind, inputs, id=f"{scheme.name}-{kind.__name__}")
    for scheme in (Static, Both)
    for kind, inputs in (
        (SmallCNN, images),
        (Functional, images),
        (Decoder, images),
        (Stubbed, images),
        (StubbedGRU, sequences),
        (SmallGRU, sequences),
        (DeepLSTM, sequences),
    )
]


def converted(scheme, net, batch):
    prepared = scheme().prepare(net, (batch,))
    if SCHEMES.facts(scheme.name).calibrates:
        prepared(batch)
    return scheme().convert(prepared)


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, torch.ScriptObject):
        return tensors(value.__getstate__())
    return [tensor for part in value for tensor in tensors(part)] if isinstance(value, tuple | list) else []


def same_weights(one, other):
    ours, theirs = tensors(list(one.state_dict().values())), tensors(list(other.state_dict().values()))
    pairs = zip(ours, theirs, strict=True)
    return bool(ours) and all(
        torch.equal(a.int_repr(), b.int_repr()) and torch.equal(a, b) if a.is_quantized else torch.equal(a, b)
        for a, b in pairs
    )


@pytest.mark.parametrize("name", ["fp32", "dynamic", "static", "both"])
def test_a_registered_scheme_carries_the_name_it_is_registered_under(name):
    assert SCHEMES.load(name).name == name
    assert SCHEMES.facts(name).calibrates is (name in ("static", "both"))


@pytest.mark.parametrize("scheme", [Float32, Dynamic, Static, Both])
def test_a_scheme_leaves_the_network_it_was_given_as_it_was(scheme):
    net, batch = built(SmallCNN).train(), images()
    before = copy.deepcopy(net.state_dict())
    result = converted(scheme, net, batch)
    assert net.training
    assert not result.training
    assert type(net.features[0]) is nn.Conv2d
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())


def test_fp32_computes_what_the_network_computes():
    net, batch = built(SmallCNN), images()
    assert torch.equal(converted(Float32, net, batch)(batch), net(batch))


@pytest.mark.parametrize(("kind", "inputs"), [(SmallCNN, images), (SmallGRU, sequences), (DeepLSTM, sequences)])
def test_dynamic_equals_what_torch_does_by_hand(kind, inputs):
    net, batch = built(kind), inputs()
    with base.quiet_libraries():
        by_hand = quantize_dynamic(copy.deepcopy(net), {nn.Linear, nn.LSTM, nn.GRU})
    result = converted(Dynamic, net, batch)
    assert torch.equal(result(batch), by_hand(batch))
    assert same_weights(result, by_hand)


def test_dynamic_takes_linear_and_recurrent_layers_and_no_convolution():
    cnn, lstm = converted(Dynamic, built(SmallCNN), images()), converted(Dynamic, built(DeepLSTM), sequences())
    assert type(cnn.features[0]) is nn.Conv2d
    assert type(cnn.classifier) is dynamic.Linear
    assert type(lstm.rnn) is dynamic.LSTM


def test_dynamic_runs_on_packed_sequences():
    net, batch = built(SmallGRU), packed()
    result = converted(Dynamic, net, batch)(batch)
    assert result.shape == (3, 10)
    assert torch.allclose(result, net(batch), atol=0.1)


def test_static_quantizes_and_fuses_convolutions_and_linear_layers():
    result = converted(Static, built(SmallCNN), images())
    assert type(result.get_submodule("features.0")) is fused.ConvReLU2d
    assert type(result.hidden) is fused.LinearReLU
    assert type(result.classifier) is quantized.Linear


def test_static_leaves_recurrent_layers_in_float():
    result = converted(Static, built(DeepLSTM), sequences())
    assert type(result.rnn) is nn.LSTM
    assert type(result.classifier) is quantized.Linear


def test_both_takes_convolutions_statically_and_the_rest_dynamically():
    cnn, lstm = converted(Both, built(SmallCNN), images()), converted(Both, built(DeepLSTM), sequences())
    assert type(cnn.get_submodule("features.0")) is fused.ConvReLU2d
    assert type(cnn.hidden).__module__.startswith("torch.ao.nn.intrinsic.quantized.dynamic")
    assert type(cnn.classifier) is dynamic.Linear
    assert type(lstm.rnn) is dynamic.LSTM


def test_a_network_with_stubs_is_quantized_the_way_its_author_marked_it():
    result = converted(Static, built(Stubbed), images())
    assert type(result) is Stubbed
    assert type(result.conv) is fused.ConvReLU2d  # by its own fuse_model
    assert type(result.classifier) is quantized.Linear


def test_both_dequantizes_for_a_dynamic_layer_inside_the_marked_part():
    result = converted(Both, built(Stubbed), images())
    assert type(result.conv) is fused.ConvReLU2d
    assert type(result.classifier) is dynamic.Linear


def test_a_qconfig_that_the_author_set_is_kept():
    net = built(Stubbed)
    net.classifier.qconfig = None
    assert type(converted(Static, net, images()).classifier) is nn.Linear


def test_transposed_convolutions_stay_in_float_because_torch_computes_them_wrongly():
    net, batch = built(Decoder), images()
    result = converted(Static, net, batch)
    assert type(result.up) is nn.ConvTranspose2d
    assert type(result.conv) is quantized.Conv2d
    with pytest.raises(QuantizationError, match=r"up is a ConvTranspose2d marked for int8.*Set 'qconfig = None' on up"):
        Static().prepare(built(StubbedDecoder), (batch,))


@pytest.mark.parametrize(("scheme", "kind", "inputs"), CALIBRATED)
def test_int8_stays_close_to_the_float_network(scheme, kind, inputs):
    net, batch = built(kind), inputs()
    expected, found = net(batch), converted(scheme, net, batch)(batch)
    assert found.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.15 * expected.abs().mean()


@pytest.mark.parametrize(("scheme", "kind", "inputs"), CALIBRATED)
def test_what_calibration_observed_restores_the_network_to_the_bit(scheme, kind, inputs):
    net, batch = built(kind), inputs()
    prepared = scheme().prepare(net, (batch,))
    for part in batch.split(4):
        prepared(part)
    stored = io.BytesIO()
    torch.save(calibration_state(prepared), stored)
    first = scheme().convert(prepared)

    stored.seek(0)
    again = scheme().prepare(net, (batch[:1],))
    load_calibration_state(again, torch.load(stored, weights_only=True))
    second = scheme().convert(again)
    assert torch.equal(second(batch), first(batch))
    assert same_weights(second, first)


def test_calibration_state_is_a_copy():
    prepared = Static().prepare(built(SmallCNN), (images(),))
    prepared(images())
    state = calibration_state(prepared)
    kept = copy.deepcopy(state)
    prepared(10 * images())
    assert all(torch.equal(state[name], kept[name]) for name in kept)


def test_the_calibration_of_another_network_is_refused():
    of_cnn = Static().prepare(built(SmallCNN), (images(),))
    of_gru = Static().prepare(built(SmallGRU), (sequences(),))
    with pytest.raises(
        QuantizationError, match=r"does not belong to this network: \d+ missing \(.*compress the network"
    ):
        load_calibration_state(of_cnn, calibration_state(of_gru))
    with pytest.raises(QuantizationError, match=r"0 missing, 1 unknown \(activation\.more\)"):
        load_calibration_state(of_cnn, calibration_state(of_cnn) | {"activation.more": torch.zeros(1)})


@pytest.mark.parametrize("scheme", [Static, Both])
@pytest.mark.parametrize("kind", [SmallCNN, Stubbed])
def test_a_network_that_saw_no_batch_is_not_converted(scheme, kind):
    with pytest.raises(QuantizationError, match=r"was not calibrated.*Feed it training batches before"):
        scheme().convert(scheme().prepare(built(kind), (images(),)))


@pytest.mark.parametrize("scheme", [Static, Both])
def test_an_untraceable_network_is_refused_with_the_reason(scheme):
    with pytest.raises(QuantizationError) as refused:
        scheme().prepare(built(Untraceable), (torch.randn(2, 8),))
    text = str(refused.value)
    assert "torch.fx cannot trace Untraceable" in text
    assert "cannot be used as inputs to control flow" in text  # torch's own reason
    assert "QuantStub" not in text  # there is none


def test_an_untraceable_network_is_quantized_dynamically():
    assert type(converted(Dynamic, built(Untraceable), torch.randn(2, 8)).classifier) is dynamic.Linear


def test_a_fuse_model_that_raises_is_named():
    net = built(Stubbed)
    del net.bn
    with pytest.raises(QuantizationError, match=r"Stubbed cannot be prepared .* Repair fuse_model"):
        Static().prepare(net, (images(),))


def test_a_layer_that_torch_cannot_quantize_is_refused_with_the_remedy():
    net = nn.ModuleDict({"rnn": nn.GRU(8, 6, bias=False)})
    with pytest.raises(QuantizationError, match=r"cannot quantize ModuleDict dynamically: .*must have biases; scheme"):
        converted(Dynamic, net, sequences())


def test_leftover_pruning_masks_are_refused_with_the_remedy():
    net = built(SmallCNN)
    prune.l1_unstructured(net.classifier, "weight", 0.5)
    net(images())
    with pytest.raises(QuantizationError, match=r"SmallCNN cannot be copied: .*torch\.nn\.utils\.prune\.remove"):
        Float32().prepare(net, (images(),))


def test_a_build_of_torch_without_an_int8_engine_is_named(monkeypatch):
    backends = SimpleNamespace(quantized=SimpleNamespace(engine="none"))
    monkeypatch.setattr(base, "torch", SimpleNamespace(backends=backends))
    with pytest.raises(QuantizationError, match="has no int8 engine"):
        base.int8_engine()


def test_warnings_of_the_users_own_network_are_not_silenced():
    class Talkative(SmallCNN):
        def forward(self, x):
            warnings.warn("mine", UserWarning, stacklevel=1)
            return super().forward(x)

    with pytest.warns(UserWarning, match="mine"):
        Static().prepare(built(Talkative), (images(),))


IN_A_NEW_PROCESS = """
import sys, warnings
from pathlib import Path
import torch
from recordings import recorded
from small_nets import *
from sparsebench.backends.eager.backend import Eager
from sparsebench.measure import measure_size

kept = torch.load(sys.argv[1], weights_only=True)
warnings.simplefilter("error")
for kind, scheme, calibration, inputs, outputs in kept:
    net = built(globals()[kind])
    torch.save(calibration, "calibration.pt")
    files = {"calibration.pt": Path("calibration.pt")} if calibration else {}
    restored = Eager().restore(net, scheme, (inputs,), files)
    assert torch.equal(restored(inputs), outputs), (kind, scheme)
    measure_size(restored)
    Eager().compress(net, scheme, (inputs,), recorded(inputs))
print("restored", len(kept))
"""


def test_a_new_process_restores_to_the_bit_and_shows_no_warning_of_the_library(tmp_path):
    kept = []
    for case in CALIBRATED:
        scheme, kind, inputs = case.values
        batch = inputs(4)
        prepared = scheme().prepare(built(kind), (batch,))
        prepared(batch)
        state = calibration_state(prepared)
        kept.append((kind.__name__, scheme.name, state, batch, scheme().convert(prepared)(batch)))
    kept.append(
        ("DeepLSTM", "dynamic", {}, sequences(4), converted(Dynamic, built(DeepLSTM), sequences(4))(sequences(4)))
    )
    torch.save(kept, tmp_path / "kept.pt")
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, str(tmp_path / "kept.pt")],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(tests / "helpers"), str(tests.parent)]), "PYTHONHASHSEED": "7"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"restored {len(kept)}\n", done.stderr
    assert done.stderr == ""


def test_asking_a_scheme_whether_it_calibrates_does_not_import_torch():
    code = (
        "import sys; from sparsebench.registry import SCHEMES; "
        "print([SCHEMES.facts(s).calibrates for s in ('fp32', 'dynamic', 'static', 'both')], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[False, False, True, True] False\n"
