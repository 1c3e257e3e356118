"""ONNX Runtime and OpenVINO: what they compute, what they keep, what they really run in int8, and what they refuse."""

import copy
import pickle
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from patience import LONG
from recordings import recorded, stored
from small_nets import (
    ConvOnly,
    DeepLSTM,
    Functional,
    SmallCNN,
    SmallGRU,
    Untraceable,
    built,
    images,
    packed,
    sequences,
)
from torch import nn
from trained_on_digits import small_cnn

from sparsebench.backends import build_backend, probe
from sparsebench.errors import QuantizationError, SparsebenchError

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

INT8 = {"onnxruntime": ("static", "dynamic", "both"), "openvino": ("static", "weight_only")}
OFFERED = [
    *(("onnxruntime", scheme) for scheme in ("fp32", "dynamic", "static", "both")),
    *(("openvino", scheme) for scheme in ("fp32", "static", "weight_only", "bf16", "fp16")),
]
BOTH = pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
EACH = pytest.mark.parametrize(("backend", "scheme"), OFFERED)


@pytest.fixture(scope="module")
def trained(digits):
    """A small network that really tells digits apart, so that its outputs have a structure to be kept."""
    return small_cnn(digits)


@pytest.fixture(scope="module")
def held_out(digits):
    return torch.stack([torch.as_tensor(sample[0]) for sample in digits.test])


@pytest.fixture(scope="module")
def compressed(trained, digits):
    """What each backend made of the trained network; each is made once."""
    batches = [torch.stack([torch.as_tensor(digits.train[i][0]) for i in range(j, j + 64)]) for j in (0, 64, 128)]
    made = {}

    def compress(backend, scheme):
        if (backend, scheme) not in made:
            example = (batches[0][:8],)
            made[backend, scheme] = build_backend(backend).compress(trained, scheme, example, recorded(*batches))
        return made[backend, scheme]

    return compress


@EACH
def test_every_scheme_decides_as_the_float_network_does(backend, scheme, compressed, trained, held_out):
    with torch.no_grad():
        wanted = trained(held_out)
    found = compressed(backend, scheme).network(held_out)
    assert (found.argmax(1) == wanted.argmax(1)).float().mean() >= 0.95
    if scheme == "fp32":
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@EACH
@pytest.mark.parametrize("samples", [1, 3, 65])
def test_any_batch_size_is_taken(backend, scheme, samples, compressed, held_out):
    assert compressed(backend, scheme).network(held_out[:samples]).shape == (samples, 10)


@EACH
def test_a_specialised_network_computes_the_same(backend, scheme, compressed, held_out):
    network, inputs = compressed(backend, scheme).network, held_out[:5]
    special = build_backend(backend).specialise(network, (inputs,), threads=2)
    torch.testing.assert_close(special(inputs), network(inputs), rtol=1e-5, atol=1e-5)


@BOTH
def test_a_specialised_network_takes_the_shape_it_was_made_for_and_says_so(backend, compressed, held_out):
    special = build_backend(backend).specialise(compressed(backend, "fp32").network, (held_out[:5],), threads=1)
    with pytest.raises(QuantizationError, match=r"does not take inputs of \(4, 1, 8, 8\)"):
        special(held_out[:4])


@BOTH
def test_a_network_of_another_backend_is_not_specialised(backend):
    with pytest.raises(QuantizationError, match=f"is no network of backend '{backend}'"):
        build_backend(backend).specialise(nn.Identity(), (images(),), threads=1)


@BOTH
def test_outputs_stay_as_they_are_when_the_network_runs_again(backend, compressed, held_out):
    network = compressed(backend, "static").network
    first = network(held_out[:4])
    kept = first.clone()
    network(held_out[4:8])
    assert torch.equal(first, kept)


@BOTH
def test_a_network_is_copied_and_pickled_as_its_file(backend, compressed, held_out):
    network = compressed(backend, "static").network
    special = build_backend(backend).specialise(network, (held_out[:2],), threads=1)
    for again in (copy.deepcopy(special), pickle.loads(pickle.dumps(special))):  # noqa: S301 - our own bytes
        assert torch.equal(again(held_out[:2]), special(held_out[:2]))
    assert not special.training
    assert not list(special.parameters())


RESTORE = """
import sys
from pathlib import Path
import torch
from sparsebench.backends import build_backend
torch.set_num_threads(1)
for line in sys.stdin:
    backend, scheme, folder = line.split()
    files = {path.name: path for path in Path(folder).iterdir()}
    inputs = torch.load(Path(folder).parent / "inputs.pt", weights_only=True)
    # The float network is not looked at: nothing is converted or calibrated again.
    network = build_backend(backend).restore(torch.nn.Identity(), scheme, (inputs[:8],), files)
    torch.save(network(inputs), f"{folder}.out")
"""


def test_a_restored_network_gives_equal_bits_in_a_new_process(compressed, held_out, tmp_path):
    torch.save(held_out, tmp_path / "inputs.pt")
    asked = ""
    for backend, scheme in OFFERED:
        folder = tmp_path / f"{backend}-{scheme}"
        stored(compressed(backend, scheme), folder)
        asked += f"{backend} {scheme} {folder}\n"
    subprocess.run([sys.executable, "-c", RESTORE], input=asked, text=True, check=True, timeout=LONG)
    for backend, scheme in OFFERED:
        found = torch.load(tmp_path / f"{backend}-{scheme}.out", weights_only=True)
        assert torch.equal(found, compressed(backend, scheme).network(held_out)), (backend, scheme)


@BOTH
def test_files_of_another_network_are_refused(backend, compressed, tmp_path):
    files = stored(compressed(backend, "fp32"), tmp_path)
    restore = build_backend(backend).restore
    with pytest.raises(QuantizationError, match="does not belong to this network"):
        restore(nn.Identity(), "fp32", (torch.zeros(2, 3, 8, 8),), files)
    with pytest.raises(QuantizationError, match="missing"):
        restore(nn.Identity(), "fp32", (images(),), {})
    for path in files.values():
        path.write_bytes(b"no model")
    with pytest.raises(QuantizationError, match="again"):
        restore(nn.Identity(), "fp32", (images(),), files)


# Weights and multiply-accumulates of SmallCNN by hand: 8×8 images, padding 1, then Linear 16 → 12 → 10.
BY_HAND = {
    "features.0": (8 * 1 * 9, 8 * 1 * 9 * 64),
    "features.3": (16 * 8 * 9, 16 * 8 * 9 * 64),
    "hidden": (16 * 12, 16 * 12),
    "classifier": (12 * 10, 12 * 10),
}
PARAMETERS = sum(weights for weights, _ in BY_HAND.values()) + 8 + 16 + 12 + 10


@EACH
def test_layers_are_named_after_modules_and_counted_as_by_hand(backend, scheme, compressed):
    facts = compressed(backend, scheme).layers
    assert {fact.name: (fact.weights, fact.macs) for fact in facts} == BY_HAND


@pytest.mark.parametrize(
    ("backend", "scheme", "bits", "computed"),
    [
        ("onnxruntime", "fp32", [32, 32, 32, 32], ["fp32"] * 4),
        ("onnxruntime", "static", [8, 8, 8, 8], ["int8"] * 4),
        ("onnxruntime", "dynamic", [32, 32, 8, 8], ["fp32", "fp32", "int8", "int8"]),
        ("onnxruntime", "both", [8, 8, 8, 8], ["int8"] * 4),
        ("openvino", "fp32", [32, 32, 32, 32], ["fp32"] * 4),
        ("openvino", "static", [8, 8, 8, 8], ["int8"] * 4),
        ("openvino", "weight_only", [8, 8, 8, 8], ["fp32"] * 4),
    ],
)
def test_the_audit_tells_how_weights_are_held_and_in_what_they_are_multiplied(
    backend, scheme, bits, computed, compressed
):
    facts = compressed(backend, scheme).layers
    assert [fact.bits for fact in facts] == bits
    assert [fact.computed_in for fact in facts] == computed
    assert [bool(fact.reason) for fact in facts] == [width > 8 for width in bits]


# For fp16, processors with bf16 alone take that.
@pytest.mark.parametrize(("scheme", "instead"), [("bf16", ("fp32",)), ("fp16", ("bf16", "fp32"))])
def test_half_precision_is_what_the_processor_makes_of_it(scheme, instead, compressed):
    for fact in compressed("openvino", scheme).layers:
        assert fact.computed_in in (scheme, *instead)
        assert (fact.computed_in == scheme) != (f"this processor has no {scheme} units" in fact.reason)


@EACH
def test_sizes_are_those_of_the_files(backend, scheme, compressed):
    made = compressed(backend, scheme)
    width = {"fp32": 4, "bf16": 4, "fp16": 2}.get(scheme, 1)
    assert len(made.export.file) == sum(len(content) for content in made.files.values())
    assert sum(parameter.elements for parameter in made.export.parameters) == PARAMETERS
    assert made.export.payload_bytes < len(made.export.file)
    if scheme not in ("dynamic", "both"):
        assert made.export.payload_bytes >= width * (PARAMETERS - 46)


@BOTH
def test_int8_files_hold_a_quarter_of_the_weights_bytes(backend, compressed):
    float_bytes = compressed(backend, "fp32").export.payload_bytes
    assert compressed(backend, "static").export.payload_bytes < 0.4 * float_bytes


@BOTH
def test_zeros_of_a_pruned_network_are_still_zero(backend, trained):
    net = copy.deepcopy(trained)
    with torch.no_grad():
        for module in (net.features[0], net.features[3], net.hidden):
            keep = module.weight.abs() >= module.weight.abs().flatten().median()
            module.weight.mul_(keep)
    zeros = {name: int((net.get_submodule(name).weight == 0).sum()) for name in ("features.0", "features.3", "hidden")}
    for scheme in ("fp32", "static"):
        batch = images(64)
        facts = build_backend(backend).compress(net, scheme, (batch[:8],), recorded(batch)).layers
        found = {fact.name: fact.zeros for fact in facts}
        assert all(found[name] >= count for name, count in zeros.items())
        if scheme == "fp32":
            assert {name: found[name] for name in zeros} == zeros


@BOTH
def test_activations_of_int8_need_less_memory(backend, compressed):
    # The second convolution reads 8 × 64 and writes 16 × 64 numbers, or is fused with what follows.
    assert compressed(backend, "fp32").working_memory_bytes >= 4 * (8 + 16) * 64
    assert compressed(backend, "static").working_memory_bytes < compressed(backend, "fp32").working_memory_bytes


@EACH
def test_the_same_network_gives_the_same_bytes(backend, scheme, compressed, trained, digits):
    batches = [torch.stack([torch.as_tensor(digits.train[i][0]) for i in range(j, j + 64)]) for j in (0, 64, 128)]
    again = build_backend(backend).compress(trained, scheme, (batches[0][:8],), recorded(*batches))
    assert dict(again.files) == dict(compressed(backend, scheme).files)


@BOTH
def test_files_tell_nothing_about_the_machine_they_were_made_on(backend, compressed):
    content = b"".join(compressed(backend, "static").files.values())
    for path in (Path(__file__).parent, Path(torch.__file__).parent, Path(tempfile.gettempdir())):
        assert str(path).encode() not in content


def scales(compressed):
    return {name: content for name, content in compressed.files.items() if name != "model.xml"}


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("onnxruntime", {"calibration": "percentile", "extra": {"CalibPercentile": 90.0}}),
        ("onnxruntime", {"per_channel": False}),
        ("onnxruntime", {"activation_type": "int8"}),
        ("openvino", {"preset": "mixed"}),
        ("openvino", {"subset_size": 1}),
        ("openvino", {"advanced": {"activations_range_estimator_params": "mean_quantile"}}),
    ],
)
def test_an_option_reaches_the_library(backend, options, compressed, trained, digits):
    batches = [torch.stack([torch.as_tensor(digits.train[i][0]) for i in range(j, j + 64)]) for j in (0, 64, 128)]
    other = build_backend(backend, options).compress(trained, "static", (batches[0][:8],), recorded(*batches))
    assert dict(other.files) != dict(compressed(backend, "static").files)
    assert {fact.bits for fact in other.layers} == {8}


def test_calibration_by_entropy_cuts_off_what_is_far_out(trained):
    batch, outlier = images(256), images(256)
    outlier[0, 0, 0, 0] = 100.0
    found = {}
    for method in ("minmax", "entropy"):
        backend = build_backend("onnxruntime", {"calibration": method})
        made = backend.compress(trained, "static", (batch[:8],), recorded(batch, outlier))
        found[method] = input_scale(made.files["model.onnx"])
    assert found["minmax"] == pytest.approx((100.0 - float(batch.min())) / 255, rel=1e-3)
    assert found["entropy"] < found["minmax"] / 2


def input_scale(file):
    import onnx

    (tensor,) = (tensor for tensor in onnx.load_model_from_string(file).graph.initializer if tensor.name == "x_scale")
    return float(onnx.numpy_helper.to_array(tensor))


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("onnxruntime", {"nodes_to_exclude": ["features.0/Conv"]}),
        ("openvino", {"ignored_scope": {"patterns": ["__module\\.features\\.0/.*"]}}),
    ],
)
def test_a_layer_that_is_to_stay_in_float_does(backend, options, trained):
    batch = images(64)
    facts = build_backend(backend, options).compress(trained, "static", (batch[:8],), recorded(batch)).layers
    assert {fact.name: fact.bits for fact in facts} == {
        "features.0": 32,
        "features.3": 8,
        "hidden": 8,
        "classifier": 8,
    }


@BOTH
@pytest.mark.parametrize(("saturates", "most"), [(True, 64), (False, 127)])
def test_weights_have_seven_bits_only_where_the_processor_saturates(backend, saturates, most, trained, monkeypatch):
    import sparsebench.backends.onnxruntime.backend as by_onnx
    import sparsebench.backends.openvino.backend as by_nncf

    for module in (by_nncf, by_onnx):
        monkeypatch.setattr(module, "int8_saturates", lambda: saturates)
    batch = images(64)
    made = build_backend(backend).compress(trained, "static", (batch[:8],), recorded(batch))
    largest = max(abs(weights).max() for weights in int8_weights(backend, made) if weights.ndim >= 2)
    assert most - 1 <= largest <= most


def int8_weights(backend, made):
    if backend == "onnxruntime":
        import onnx

        model = onnx.load_model_from_string(made.files["model.onnx"])
        found = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    else:
        from sparsebench.backends.openvino.network import read

        model = read(made.files["model.xml"], made.files["model.bin"])
        found = [node.data for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    # The first layer has 7 bits under either of NNCF's rules.
    return [array.astype("int64") for array in found if array.dtype == "int8" and array.size == 16 * 8 * 9]


@pytest.mark.parametrize(
    ("flags", "machine", "saturates"),
    [
        (("avx2",), "x86_64", True),
        (("avx2", "avx_vnni"), "x86_64", False),
        (("avx512f", "avx512_vnni"), "AMD64", False),
        ((), "AMD64", True),
        ((), "arm64", False),
        (("asimddp",), "aarch64", False),
    ],
)
def test_whether_int8_saturates_is_told_by_the_processor(flags, machine, saturates, monkeypatch):
    monkeypatch.setattr(probe, "cpu_flags", lambda: flags)
    monkeypatch.setattr(probe.platform, "machine", lambda: machine)
    assert probe.int8_saturates() is saturates


@pytest.mark.parametrize(
    ("backend", "options", "text"),
    [
        ("onnxruntime", {"calibration": "entropie"}, "Did you mean 'entropy'"),
        ("onnxruntime", {"activation_type": "int4"}, "must be 'uint8' or 'int8'"),
        ("openvino", {"weight_mode": "int4"}, "must be one of int8_asym, int8_sym"),
        ("openvino", {"subset_size": 0}, "must be at least 1"),
        ("openvino", {"calibrate": 1}, "It takes preset, target_device"),
    ],
)
def test_a_wrong_option_is_refused_before_any_work(backend, options, text):
    with pytest.raises(SparsebenchError, match=text):
        build_backend(backend, options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"preset": "performanse"}, "Did you mean 'performance'"),
        ({"advanced": {"overflow": "enable"}}, "Did you mean 'overflow_fix'"),
        ({"advanced": {"weights_range_estimator_params": "minmaxx"}}, "Did you mean 'minmax'"),
        ({"ignored_scope": {"layers": ["x"]}}, "It takes names, patterns, types"),
    ],
)
def test_an_option_that_nncf_does_not_know_is_refused_with_the_nearest(options, text, trained):
    with pytest.raises(SparsebenchError, match=text):
        build_backend("openvino", options).compress(trained, "static", (images(),), recorded(images()))


@pytest.mark.parametrize(
    ("backend", "scheme", "text"),
    [
        ("onnxruntime", "qat", "does not train"),
        ("onnxruntime", "weight_only", "come with int8 activations"),
        ("onnxruntime", "bf16", "compute in fp32"),
        ("onnxruntime", "fp16", "compute in fp32"),
        ("openvino", "dynamic", "choose static, or weight_only"),
        ("openvino", "both", "choose static, or weight_only"),
        ("openvino", "qat", "training loop of its own"),
    ],
)
def test_what_is_not_offered_has_its_reason(backend, scheme, text):
    offers = build_backend(backend).offers(scheme)
    assert offers.startswith(f"{backend} does not offer {scheme}: ")
    assert text in offers
    with pytest.raises(QuantizationError, match=text):
        build_backend(backend).compress(built(SmallCNN), scheme, (images(),), recorded())


@BOTH
def test_the_alias_and_an_unknown_scheme_are_told_apart(backend):
    assert build_backend(backend).offers("post") is None
    assert "Did you mean 'static'?" in build_backend(backend).offers("statik")


@pytest.mark.parametrize(
    ("backend", "missing", "text"),
    [
        ("onnxruntime", {"onnxscript"}, "onnxscript is not installed; run \"pip install 'sparsebench[onnxruntime]'\"."),
        ("openvino", {"openvino", "nncf"}, "openvino and nncf are not installed; run \"pip install 'sparsebench["),
    ],
)
def test_what_is_missing_is_said_with_what_to_install(backend, missing, text, monkeypatch):
    assert build_backend(backend).problem() is None
    monkeypatch.setattr(probe, "find_spec", lambda name: None if name in missing else object())
    assert build_backend(backend).problem().startswith(text)


def test_planning_with_these_backends_imports_neither_torch_nor_a_runtime():
    code = (
        "import sys; from sparsebench.backends import build_offer\n"
        "for name in ('onnxruntime', 'openvino'):\n"
        "    backend = build_offer(name); backend.problem(); backend.offers('static'); backend.offers('both')\n"
        "print({'torch', 'numpy', 'onnx', 'onnxruntime', 'openvino', 'nncf'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@BOTH
def test_a_branch_on_data_is_refused_with_the_reason(backend):
    inputs = torch.randn(4, 8)
    with pytest.raises(QuantizationError, match=r"data-dependent.*torch\.where, *(otherwise|or)|torch\.where"):
        build_backend(backend).compress(built(Untraceable), "fp32", (inputs,), recorded())


class ByShape(nn.Module):
    """Branches on a shape, which is no branch on data."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(64, 10)

    def forward(self, x):
        return self.classifier(x.flatten(1) if x.shape[-1] == 8 else x.flatten(1)[:, :64])


def test_a_branch_on_a_shape_does_no_harm():
    net = built(ByShape)
    made = build_backend("openvino").compress(net, "fp32", (images(),), recorded())
    torch.testing.assert_close(made.network(images(3)), net(images(3)), rtol=1e-4, atol=1e-5)


class Stateful(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class Fixed(nn.Module):
    def forward(self, x):
        return x.reshape(16, 64)


class Named(nn.Module):
    def forward(self, x):
        return {"logits": x.flatten(1)}


@pytest.mark.parametrize(
    ("kind", "inputs", "text"),
    [
        (Stateful, images, "computes something else than torch.*draws random numbers"),
        (Fixed, images, "takes any number of samples; Fixed does not take 1"),
        (SmallGRU, packed, "no packed sequences. Pad the sequences"),
        (SmallCNN, lambda: 3, "is called with int"),
        (SmallCNN, lambda: torch.tensor(1.0), "a tensor without dimensions"),
    ],
)
def test_what_cannot_be_exported_says_why(kind, inputs, text):
    with pytest.raises(QuantizationError, match=text):
        build_backend("openvino").compress(built(kind), "fp32", (inputs(),), recorded())


@BOTH
def test_calibration_without_a_batch_is_refused(backend, trained):
    with pytest.raises(QuantizationError, match="given no calibration batch"):
        build_backend(backend).compress(trained, "static", (images(),), recorded())


@BOTH
def test_batches_are_read_only_where_the_scheme_calibrates(backend, trained):
    for scheme, used in [("fp32", 0), (INT8[backend][1], 0), ("static", 2)]:
        batches = recorded(images(), images())
        build_backend(backend).compress(trained, scheme, (images(),), batches)
        assert batches.used == used


@BOTH
def test_the_libraries_neither_warn_nor_print(backend, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scheme in ("fp32", *INT8[backend]):
            build_backend(backend).compress(built(ConvOnly), scheme, (images(),), recorded(images()))
    assert capfd.readouterr() == ("", "")


class Warner(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        warnings.warn("what the user says", UserWarning, stacklevel=1)
        return self.conv(x).mean((2, 3))


def test_what_the_network_itself_warns_of_is_heard():
    with pytest.warns(UserWarning, match="what the user says"):
        build_backend("openvino").compress(built(Warner), "fp32", (images(),), recorded())


def test_openvino_leaves_no_trace_of_its_telemetry(monkeypatch, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1] / 'helpers')!r})\n"
        "from small_nets import *; from recordings import recorded\n"
        "from sparsebench.backends import build_backend\n"
        "build_backend('openvino').compress(built(ConvOnly), 'static', (images(),), recorded(images()))\n"
    )
    environment = {"HOME": str(tmp_path), "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert not list(tmp_path.rglob("*telemetry*"))
    assert not (tmp_path / "intel").exists()


@pytest.mark.parametrize("scheme", ["fp32", "static", "weight_only"])
def test_openvino_runs_recurrent_networks(scheme):
    net, batch = built(DeepLSTM), sequences()
    made = build_backend("openvino").compress(net, scheme, (batch[:8],), recorded(batch))
    # Two layers of two directions: 4 gates × 6 features, from 8 and from 12 inputs, over 5 steps.
    first, second = 2 * 24 * (8 + 6), 2 * 24 * (12 + 6)
    assert [(fact.name, fact.weights, fact.macs) for fact in made.layers] == [
        ("rnn", first, 5 * first),
        ("rnn (2)", second, 5 * second),
        ("classifier", 120, 120),
    ]
    error = (made.network(batch) - net(batch)).abs().max() / net(batch).abs().max()
    assert error <= {"fp32": 1e-4, "static": 0.05, "weight_only": 0.01}[scheme]
    if scheme == "static":
        assert [fact.computed_in for fact in made.layers] == ["fp32", "fp32", "int8"], "an int8 LSTM loses its state"


class Residual(nn.Module):
    """Its first convolution feeds two layers."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.classifier = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.classifier((self.conv(x) + x).relu().mean((2, 3)))


@BOTH
def test_layers_after_a_branch_run_in_int8_as_well(backend):
    made = build_backend(backend).compress(built(Residual), "static", (images(),), recorded(images()))
    assert {fact.name: fact.computed_in for fact in made.layers} == dict.fromkeys(
        ("stem", "conv", "classifier"), "int8"
    )


def test_a_layer_that_falls_back_to_float_is_told_of():
    signed = build_backend("onnxruntime", {"activation_type": "int8"})
    made = signed.compress(built(Residual), "static", (images(),), recorded(images()))
    found = {fact.name: (fact.bits, fact.computed_in) for fact in made.layers}
    # It is int8 in the file; on x86, ONNX Runtime runs it in float nevertheless.
    assert found["conv"] == (8, "fp32" if probe.is_x86() else "int8")


class WideGRU(SmallGRU):
    """Large enough for torch not to reorder its weights when it is exported."""

    def __init__(self):
        super().__init__()
        self.rnn, self.classifier = nn.GRU(8, 48, batch_first=True), nn.Linear(48, 10)


def test_weights_of_a_recurrent_layer_are_stored_as_they_are_used():
    made = build_backend("onnxruntime").compress(built(WideGRU), "fp32", (sequences(),), recorded())
    weights = 3 * 48 * (8 + 48)
    assert [(fact.name, fact.kind, fact.weights, fact.macs) for fact in made.layers] == [
        ("rnn", "GRU", weights, 5 * weights),
        ("classifier", "Gemm", 480, 480),
    ]


@pytest.mark.parametrize(
    ("kind", "int8"),
    [(DeepLSTM, {"rnn", "rnn (2)", "classifier"}), (SmallGRU, {"classifier"})],
)
def test_onnx_runtime_runs_recurrent_networks(kind, int8):
    net, batch = built(kind), sequences()
    for scheme, names in {"static": {"classifier"}, "dynamic": int8, "both": int8}.items():
        made = build_backend("onnxruntime").compress(net, scheme, (batch[:8],), recorded(batch))
        assert {fact.name for fact in made.layers if fact.computed_in == "int8"} == names
        error = (made.network(batch) - net(batch)).abs().max() / net(batch).abs().max()
        assert error <= 0.05
    assert made.layers[0].macs == 5 * made.layers[0].weights
    assert made.layers[0].reason.startswith("" if "rnn" in int8 else "GRU kept in float: ONNX Runtime quantizes it in ")


def test_a_function_with_a_parameter_is_named_after_it():
    made = build_backend("openvino").compress(built(Functional), "static", (images(),), recorded(images()))
    assert [fact.name for fact in made.layers] == ["kernel", "classifier"]


@pytest.mark.slow
def test_a_sweep_over_three_backends_ends_with_every_trial_or_its_reason(tmp_path):
    from sweeps import TIMED, tiny

    from sparsebench import run_sweep

    run = run_sweep(
        tiny(
            "thresholds=0.8",
            "schemes=fp32,dynamic,static",
            "backends=eager,onnxruntime,openvino",
            "quantize.calibration_batches=3",
            *TIMED,
        ),
        runs_dir=tmp_path,
    )
    trials = [trial for trial in run.trials if trial.trial.threshold == 0.8]
    done = {(t.trial.backend, t.trial.scheme): t for t in trials if t.trial.not_offered is None}
    assert set(done) == {
        *((backend, scheme) for backend in ("eager", "onnxruntime") for scheme in ("fp32", "dynamic", "static")),
        ("openvino", "fp32"),
        ("openvino", "static"),
    }
    reasons = [trial.trial.not_offered for trial in trials if trial.trial.not_offered]
    assert len(reasons) == 1
    assert reasons[0].startswith("openvino does not offer dynamic: ")
    for trial in done.values():
        assert trial.evaluated is not None
        assert abs(trial.evaluated.top1 - done["eager", "fp32"].evaluated.top1) <= 0.03
        assert trial.compressed.size.file_bytes > trial.compressed.size.payload_bytes > 0
        assert trial.measured
        assert trial.compressed.calibration_batches == (3 if trial.trial.scheme == "static" else 0)


def branching(num_classes, input_shape):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = nn.Linear(64, num_classes)

        def forward(self, x):
            x = x.flatten(1)
            return self.classifier(x if x.sum() > 0 else -x)

    return Branching()


def test_a_network_that_a_backend_cannot_take_is_a_failed_trial_and_the_others_go_on(tmp_path):
    from sweeps import tiny

    from sparsebench import run_sweep

    config = tiny(
        "thresholds=0",
        "schemes=fp32",
        "backends=eager,openvino",
        "model.name=test_runtimes:branching",
        "model.options={}",
    )
    run = run_sweep(config, runs_dir=tmp_path)
    eager, openvino = (next(t for t in run.trials if t.trial.backend == name) for name in ("eager", "openvino"))
    assert eager.evaluated is not None
    assert openvino.evaluated is None
    assert openvino.status == "failed"
    assert "branches on its data" in openvino.failed_stage.failure.message
