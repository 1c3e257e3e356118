"""Networks that are hard to convert agree with the float ones in int8, or are refused by a sentence that is true."""

import re
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from awkward_nets import (
    Asks,
    BatchStatistics,
    Branching,
    ByBatch,
    Causal,
    Encoder,
    GroupedUp,
    OwnAttention,
    Packs,
    batches,
    made,
    pictures,
    rows,
    words,
)
from recordings import recorded, stored
from small_nets import Untraceable, built
from torch import nn

from sparsebench.backends import build_backend
from sparsebench.backends.checks import check_converted
from sparsebench.errors import OutputsWarning, QuantizationError
from sparsebench.quantization import Recording, plain_attention

LOWEST = torch.finfo(torch.float32).min
NETS = {
    "batch statistics": (BatchStatistics, {}, pictures),
    "grouped up": (GroupedUp, {}, pictures),
    "filled with -inf": (OwnAttention, {}, words),
    "-inf added": (OwnAttention, {"adds": True}, words),
    "-10,000 added": (OwnAttention, {"adds": True, "fill": -1e4}, words),
    "lowest float added": (OwnAttention, {"adds": True, "fill": LOWEST}, words),
    "causal": (Causal, {}, rows),
    "encoder": (Encoder, {}, words),
    "encoder, norms first": (Encoder, {"norm_first": True}, words),
    "branching": (Branching, {}, pictures),
    "decoder": (Asks, {}, words),
    "packs": (Packs, {}, batches),
}
ELSEWHERE = [
    ("onnxruntime", "static", "grouped up"),
    ("onnxruntime", "static", "-inf added"),
    ("onnxruntime", "static", "causal"),
    ("openvino", "static", "lowest float added"),
    ("openvino", "static", "encoder"),
]
CELLS = [*(("eager", scheme, net) for scheme in ("static", "both", "dynamic") for net in NETS), *ELSEWHERE]


def feeding(*fed):
    def read(network):
        for inputs in fed:
            network(inputs)

    return Recording(nn.Identity(), read, len(fed))


@cache
def ready(name, backend, scheme):
    """Return a network of NETS, its inputs, and what a backend made of it."""
    kind, options, inputs = NETS[name]
    net = made(kind, **options)
    return net, inputs, converted(net, backend, scheme, inputs(8), inputs())


def converted(net, backend, scheme, example, *calibration):
    running = build_backend(backend)
    if problem := running.problem():
        pytest.skip(problem)
    return running.compress(net, scheme, (example,), feeding(*calibration or (example,)))


@pytest.mark.parametrize(("backend", "scheme", "name"), CELLS)
def test_a_network_that_is_hard_to_convert_agrees_with_the_float_one(backend, scheme, name):
    net, inputs, compressed = ready(name, backend, scheme)
    with torch.no_grad():
        wanted, found = net(inputs()), compressed.network(inputs())
        assert compressed.network(inputs(3)).shape == (3, 5)
    assert bool(torch.isfinite(found).all())
    assert float((found.argmax(1) == wanted.argmax(1)).double().mean()) >= 0.9
    assert any(layer.bits == 8 for layer in compressed.layers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_converted(compressed.network, net, (inputs(),), "int8")


@pytest.mark.parametrize("backend", ["eager", "onnxruntime", "openvino"])
def test_what_has_no_finite_scale_stays_in_float_and_the_audit_names_it(backend):
    _, _, compressed = ready("-inf added", backend, "static")
    left = [layer for layer in compressed.layers if layer.kind == "activation"]
    assert left
    for layer in left:
        assert layer.weights == layer.zeros == 0
        assert layer.name.startswith("output of ")
        assert "its values are not all finite, as where a mask fills in −inf" in layer.reason
    assert {layer.name for layer in compressed.layers if layer.bits == 8} >= {"qkv", "classifier"}


def test_a_mask_that_would_leave_eight_bits_nothing_else_is_named_too():
    for backend in ("eager", "onnxruntime"):
        _, _, compressed = ready("-10,000 added", backend, "static")
        (left,) = (layer for layer in compressed.layers if layer.kind == "activation")
        assert "eight bits would round all others to zero" in left.reason


def test_an_onnx_file_has_finite_scales_and_the_values_of_its_constants():
    onnx = pytest.importorskip("onnx")
    net, _, compressed = ready("causal", "onnxruntime", "static")
    file = compressed.files["model.onnx"]
    held = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load_model_from_string(file).graph.initializer}
    scales = [array for name, array in held.items() if name.endswith("_scale")]
    assert scales
    assert all(np.isfinite(scale).all() for scale in scales)
    assert any(array.shape == (5, 5) and np.array_equal(array, net.mask.numpy()) for array in held.values())


def test_infinities_that_calibration_alone_shows_are_found_and_restored_to_the_bit(tmp_path):
    net = made(OwnAttention, adds=True)
    whole = torch.randint(1, 40, (8, 12), generator=torch.Generator().manual_seed(0))
    compressed = converted(net, "eager", "static", whole, words())
    assert any(layer.kind == "activation" for layer in compressed.layers)
    again = build_backend("eager").restore(net, "static", (whole,), stored(compressed, tmp_path))
    assert torch.equal(again(words()), compressed.network(words()))


@pytest.mark.parametrize("name", ["-inf added", "decoder"])
def test_training_for_int8_is_not_upset_by_infinities(name):
    def train(prepared):
        optimizer = torch.optim.SGD(prepared.parameters(), lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            loss = prepared(words()).square().mean()
            loss.backward()
            optimizer.step()
            assert bool(torch.isfinite(loss))
        return prepared.eval()

    kind, options, _ = NETS[name]
    net = made(kind, **options)
    trained = build_backend("eager").compress(net, "qat", (words(8),), recorded(), train).network
    with torch.no_grad():
        assert float((trained(words()).argmax(1) == net(words()).argmax(1)).double().mean()) >= 0.9


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_calibration_that_sorts_into_bins_names_what_is_infinite(method):
    backend = build_backend("onnxruntime", {"calibration": method})
    text = (
        rf"calibration '{method}' sorts values into bins, and those of \S.* are not all finite, .*"
        "Set calibration = 'minmax' of backend 'onnxruntime', which leaves such tensors in float"
    )
    with pytest.raises(QuantizationError, match=text) as raised:
        backend.compress(made(OwnAttention), "static", (words(8),), recorded(words()))
    assert re.search("those of [^ ]*(where|masked_fill|Where)", str(raised.value), re.IGNORECASE)


def test_other_inputs_than_a_branch_was_followed_for_are_refused():
    network = converted(made(Branching), "eager", "static", pictures(8)).network
    with pytest.raises(QuantizationError, match=r"branches on the shape of its inputs, .* Give it inputs of one shape"):
        network(torch.randn(2, 1, 7, 7))


def test_a_branch_on_the_number_of_samples_is_refused():
    with pytest.raises(QuantizationError, match=r"ByBatch branches on the number of samples .*Take it from the input"):
        converted(made(ByBatch), "eager", "static", torch.randn(8, 8))


@pytest.mark.parametrize(
    ("backend", "scheme", "net", "example", "told"),
    [
        ("eager", "static", built(Untraceable), torch.randn(2, 8), "Backend 'eager' takes it in dynamic"),
        ("eager", "both", built(Untraceable), torch.randn(2, 8), "Backend 'eager' takes it in dynamic"),
        ("onnxruntime", "static", made(Packs), batches(8), "Backend 'eager' takes it in static."),
        ("onnxruntime", "static", built(Untraceable), torch.randn(2, 8), "Backend 'eager' takes it in dynamic"),
        ("openvino", "fp32", made(Packs), batches(8), "Backend 'eager' takes it in fp32."),
    ],
)
def test_an_error_names_who_takes_the_network_and_nothing_that_is_not_there(backend, scheme, net, example, told):
    with pytest.raises(QuantizationError) as refused:
        converted(net, backend, scheme, example)
    assert told in str(refused.value)
    assert "Stub" not in str(refused.value)
    assert str(refused.value).count("Backend") == 1


def test_the_fast_path_of_attention_is_off_for_a_while_only():
    enabled = torch.backends.mha.get_fastpath_enabled
    assert enabled()
    with plain_attention():
        assert not enabled()
    assert enabled()


class Says(nn.Module):
    """Gives what it is told to, one call after the other."""

    def __init__(self, *outputs):
        super().__init__()
        self.outputs = list(outputs)

    def forward(self, x):
        return self.outputs.pop(0) if len(self.outputs) > 1 else self.outputs[0]


SCORES = torch.tensor([[3.0, 0.0], [0.0, 3.0], [2.0, 1.0]])


def test_outputs_that_are_not_finite_are_refused_with_how_many():
    lost = SCORES.clone()
    lost[1, 0] = float("nan")
    with pytest.raises(QuantizationError, match=r"int8 here: 1 of 6 outputs for 3 samples are not finite"):
        check_converted(Says(lost), Says(SCORES), (SCORES,), "int8 here")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_converted(Says(lost), Says(lost), (SCORES,), "int8 here")  # as the float network's are


def test_outputs_that_have_nothing_to_do_with_the_float_ones_are_warned_of():
    with pytest.warns(OutputsWarning, match=r"int8 here: its outputs differ .* by \d+% of their size"):
        check_converted(Says(SCORES.flip(1) * 2), Says(SCORES), (SCORES,), "int8 here")


def test_outputs_that_change_from_call_to_call_are_warned_of():
    with pytest.warns(OutputsWarning, match=r"are others in a second call"):
        check_converted(Says(SCORES, SCORES + 0.1), Says(SCORES), (SCORES,), "int8 here")


def test_rounding_is_not_warned_of_however_alike_the_outputs_are():
    alike = torch.ones(3, 2) + torch.tensor([[0.0], [1e-3], [2e-3]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_converted(Says(alike + 0.02), Says(alike), (SCORES,), "int8 here")


class Flips(nn.Module):
    """What it computes depends on a number that no layer shows."""

    def __init__(self, sign):
        super().__init__()
        self.sign, self.classifier = sign, nn.Linear(8, 5)

    def forward(self, x):
        return self.sign * self.classifier(x)


def test_networks_of_equal_weights_and_other_code_do_not_share_an_exported_file(monkeypatch):
    pytest.importorskip("onnxruntime")
    from sparsebench.backends.onnxruntime import network as exported

    nets = [made(Flips, sign) for sign in (1, -1)]
    nets[1].load_state_dict(nets[0].state_dict())
    x, counted, export = torch.randn(4, 8), [], exported._export
    monkeypatch.setattr(exported, "_export", lambda *given: counted.append(1) or export(*given))
    for number, net in enumerate(nets):
        net.built_of = f"key {number}"
        for _ in range(2):
            found = exported.ONNXNetwork(exported.export_onnx(net, (x,)), threads=1)(x)
            torch.testing.assert_close(found, net(x).detach(), rtol=1e-4, atol=1e-5)
    assert len(counted) == 2  # each once
    del nets[0].built_of
    exported.export_onnx(nets[0], (x,))
    exported.export_onnx(nets[0], (x,))
    assert len(counted) == 4  # who does not say what it is built of is not known again


def test_only_what_changes_from_call_to_call_is_said_to_draw_random_numbers():
    pytest.importorskip("onnxruntime")
    from sparsebench.backends.outside_torch import require_same

    x = torch.randn(3, 2)
    with pytest.raises(QuantizationError, match=r"something else than torch.* Torch gives the same in two calls"):
        require_same("onnxruntime", Says(SCORES), Says(-SCORES), (x,))
    with pytest.raises(QuantizationError, match=r"two calls with the same samples differ as well: what draws random"):
        require_same("onnxruntime", Says(SCORES), Says(-SCORES, -2 * SCORES), (x,))
