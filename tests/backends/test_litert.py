"""LiteRT: its converter in an environment of its own, files of somebody else, and what networks compute there."""

import copy
import pickle
import subprocess
import sys
import venv

import numpy as np
import pytest
import torch
from recordings import recorded, stored
from small_nets import SmallCNN
from sweeps import tiny
from torch import nn
from trained_on_digits import small_cnn

from sparsebench import run_sweep
from sparsebench.backends import build_backend, build_offer, probe
from sparsebench.backends.litert import install, place
from sparsebench.cli.listing import rows_of
from sparsebench.errors import ProblemsError, QuantizationError, SparsebenchError
from sparsebench.export import export_trial
from sparsebench.export.files.inputs import Feed
from sparsebench.export.files.timed import load_file, open_files

pytest.importorskip("ai_edge_litert")

from tflite_files import tflite

converting = pytest.mark.skipif(place.not_there() is not None, reason=str(place.not_there()))
"""What is converted for real needs the converter, which CI does not install: it takes 750 MB."""

INT8 = ("static", "dynamic", "weight_only")
X = torch.tensor([[1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.0, 0.0]])
WEIGHTS = torch.arange(12.0).reshape(3, 4)


def restored(folder, content):
    (folder / "model.tflite").write_bytes(content)
    return build_backend("litert").restore(nn.Identity(), "fp32", (X,), {"model.tflite": folder / "model.tflite"})


def test_without_the_runtime_the_offer_says_what_to_install(monkeypatch):
    monkeypatch.setattr(probe, "find_spec", lambda name: None)
    wanted = "ai_edge_litert is not installed; run \"pip install 'sparsebench[litert]'\"."
    assert build_offer("litert").problem() == wanted
    row = next(row for row in rows_of("backends") if row["name"] == "litert")
    assert row["here"] == wanted
    assert row["schemes"] == "fp32, dynamic, static, weight_only"


def test_without_the_converter_the_offer_says_which_command_makes_it(monkeypatch, tmp_path):
    monkeypatch.setenv(place.VARIABLE, str(tmp_path / "elsewhere"))
    wanted = (
        f"litert converts networks in an environment of its own, and there is none at {tmp_path / 'elsewhere'}; run "
        "'python -m sparsebench.backends.litert.install', or set SPARSEBENCH_LITERT_CONVERTER to where it is."
    )
    assert build_offer("litert").problem() == wanted
    with pytest.raises(QuantizationError, match="converts networks in an environment of its own, and there is none"):
        build_backend("litert").compress(SmallCNN().eval(), "fp32", (torch.rand(2, 1, 8, 8),), recorded())


def test_a_calibration_that_is_none_is_refused():
    with pytest.raises(SparsebenchError, match=r"calibration 'minmx' is not known\. Did you mean 'minmax'\?"):
        build_offer("litert", {"calibration": "minmx"})


def test_a_converter_that_was_installed_by_half_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv(place.VARIABLE, str(tmp_path))
    package = tmp_path / "lib" / "python3" / "site-packages" / "litert_torch"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert "there is none at" in build_offer("litert").problem()


def test_the_environment_of_the_converter_sees_the_packages_of_this_one_after_its_own(monkeypatch, tmp_path):
    create, run, asked = venv.create, subprocess.run, []
    monkeypatch.setattr(install.venv, "create", lambda folder, with_pip: create(folder, with_pip=False))

    def without_pip(command, **settings):
        asked.append(command)
        return None if "pip" in command else run(command, **settings)

    monkeypatch.setattr(install.subprocess, "run", without_pip)
    install.install(tmp_path / "own")
    assert asked[-1][-3:] == list(install.REQUIREMENTS)
    python = str(place.interpreter(tmp_path / "own"))
    (inside,) = (tmp_path / "own").glob("lib/python*/site-packages")
    (inside / "typing_extensions.py").write_text("mine = True")
    code = "import typing_extensions, numpy; print(typing_extensions.mine, numpy.__file__)"
    said = run([python, "-c", code], capture_output=True, text=True)
    assert said.stdout.split() == ["True", np.__file__], said.stderr


def test_installing_takes_no_arguments_and_stops_where_it_is_done(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["install", "somewhere"])
    assert install.main() == 2
    monkeypatch.setattr(sys, "argv", ["install"])
    monkeypatch.setattr(install, "not_there", lambda: None)
    assert install.main() == 0
    assert f"The converter is there: {place.place()}" in capsys.readouterr().out


@pytest.mark.parametrize("description", [b"Takes any number of samples.", b"Takes one sample.", b"by somebody"])
def test_a_file_is_run_for_any_number_of_samples_together_or_one_by_one(description, tmp_path):
    network = restored(tmp_path, tflite(description))
    for samples in (1, 2, 5):
        inputs = torch.rand(samples, 4)
        torch.testing.assert_close(network(inputs), inputs @ WEIGHTS.T)
    special = build_backend("litert").specialise(network, (X,), threads=2)
    for again in (special, copy.deepcopy(special), pickle.loads(pickle.dumps(special))):  # noqa: S301 - our own bytes
        assert torch.equal(again(X), network(X))
    with pytest.raises(QuantizationError, match=r"LiteRT does not take inputs of \(1, 4\): it was made ready for 2"):
        special(X[:1])
    with pytest.raises(QuantizationError, match="tells Python no times of single operators"):
        network.profile((X,), 1)


def test_outputs_stay_as_they_are_when_the_network_runs_again(tmp_path):
    network = restored(tmp_path, tflite())
    first = network(X)
    kept = first.clone()
    network(X + 1)
    assert torch.equal(first, kept)


def test_a_file_of_another_network_is_not_restored(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite())
    with pytest.raises(QuantizationError, match=r"The model takes inputs of \(N, 4\) and not of \(2, 5\)"):
        build_backend("litert").restore(nn.Identity(), "fp32", (torch.zeros(2, 5),), {path.name: path})


def test_of_an_artifact_the_graph_is_kept_and_what_says_who_wrote_it_is_not(tmp_path):
    network = restored(tmp_path, tflite(b"written at /home/someone", metadata=b"someone at a machine"))
    assert b"someone" not in network.file
    assert torch.equal(network(X), X @ WEIGHTS.T)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lambda: tflite(custom=b"Evil"), "calls 'Evil', which is none of LiteRT's own operators; it is not run"),
        (lambda: b"no file", "is no file that LiteRT can read"),
        (lambda: tflite()[:120], "is no file that LiteRT can read"),
    ],
)
def test_an_artifact_that_is_no_file_of_litert_or_calls_others_is_refused(content, problem, tmp_path):
    with pytest.raises(QuantizationError, match=rf"The artifact model\.tflite {problem}"):
        restored(tmp_path, content())


def test_a_file_of_somebody_else_is_timed_for_as_many_samples_as_it_takes(tmp_path):
    for name, description in (("any", b"Takes any number of samples."), ("one", b"by somebody")):
        (tmp_path / f"{name}.tflite").write_bytes(tflite(description))
    several, one = tmp_path / "any.tflite", tmp_path / "one.tflite"
    (opened, _) = open_files([several, several], batch=3)
    assert opened.feeds == (Feed("args_0", "float32", (3, 4)),)
    load_file(str(several), opened.feeds, 1)()
    with pytest.raises(ProblemsError, match="input 'args_0' has the shape 1,4, so that a batch of 3 cannot be run"):
        open_files([several, one], batch=3)
    one.write_bytes(tflite(custom=b"Evil"))
    with pytest.raises(ProblemsError, match=r"one\.tflite: calls 'Evil', which is none of LiteRT's own operators"):
        open_files([several, one])


@pytest.fixture(scope="module")
def trained(digits):
    """A small network that tells digits apart, half of whose second convolution is zero."""
    net = small_cnn(digits)
    with torch.no_grad():
        largest = max((p for p in net.parameters() if p.dim() == 4), key=torch.numel)
        largest[largest.abs() <= largest.abs().median()] = 0
    net.built_of = "a small network of digits"
    return net.eval()


@pytest.fixture(scope="module")
def batches(digits):
    return [torch.stack([torch.as_tensor(digits.train[i][0]) for i in range(j, j + 64)]) for j in range(0, 512, 64)]


@pytest.fixture(scope="module")
def example(batches):
    return (batches[0][:8],)


@pytest.fixture(scope="module")
def compressed(trained, batches, example):
    made = {}

    def compress(scheme):
        if scheme not in made:
            made[scheme] = build_backend("litert").compress(trained, scheme, example, recorded(*batches))
        return made[scheme]

    return compress


@pytest.fixture(scope="module")
def held_out(digits):
    return torch.stack([torch.as_tensor(sample[0]) for sample in digits.test])


@converting
def test_fp32_computes_what_torch_does(compressed, trained, held_out):
    with torch.no_grad():
        wanted = trained(held_out)
    assert float((compressed("fp32").network(held_out) - wanted).abs().max() / wanted.abs().max()) <= 1e-5


@converting
@pytest.mark.parametrize("scheme", INT8)
def test_int8_decides_as_the_float_network_does(scheme, compressed, trained, held_out):
    with torch.no_grad():
        wanted = trained(held_out)
    found = compressed(scheme).network(held_out)
    assert float((found.argmax(1) == wanted.argmax(1)).double().mean()) >= 0.99


@converting
def test_the_audit_tells_of_every_layer_in_which_format_it_is_held_and_computed(compressed, trained):
    counts = {name: m.weight.numel() for name, m in trained.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    computed = {"static": {"int8"}, "weight_only": {"fp32"}, "fp32": {"fp32"}}
    for scheme, formats in computed.items():
        layers = compressed(scheme).layers
        assert {layer.name: layer.weights for layer in layers} == counts
        assert {layer.computed_in for layer in layers} == formats
        assert {layer.bits for layer in layers} == ({32} if scheme == "fp32" else {8})
    by_kind = {layer.kind: (layer.bits, layer.computed_in) for layer in compressed("dynamic").layers}
    assert by_kind["FULLY_CONNECTED"] == (8, "int8")
    assert by_kind["CONV_2D"] == (32, "fp32")


@converting
@pytest.mark.parametrize("scheme", ["fp32", *INT8])
def test_zeros_stay_zeros_and_sizes_are_those_of_the_file(scheme, compressed, trained):
    made = compressed(scheme)
    largest = max(made.layers, key=lambda layer: layer.weights)
    assert largest.zeros >= largest.weights // 2
    assert made.export.file == made.files["model.tflite"]
    held = sum(parameter.elements * parameter.bits // 8 for parameter in made.export.parameters)
    assert held <= made.export.payload_bytes <= len(made.export.file)
    assert sum(p.elements for p in made.export.parameters) == sum(
        m.weight.numel() + m.weight.shape[0] for m in trained.modules() if isinstance(m, nn.Conv2d | nn.Linear)
    )


@converting
def test_static_inputs_and_outputs_are_int8_and_activations_a_quarter_as_large(compressed):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=compressed("static").files["model.tflite"])
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert {one["dtype"] for one in ends} == {np.int8}
    assert 4 * compressed("static").working_memory_bytes == compressed("fp32").working_memory_bytes


@converting
@pytest.mark.parametrize("scheme", ["fp32", *INT8])
def test_a_restored_network_gives_the_same_bits(scheme, compressed, trained, example, held_out, tmp_path):
    made = compressed(scheme)
    again = build_backend("litert").restore(trained, scheme, example, stored(made, tmp_path))
    assert again.file == made.network.file
    assert torch.equal(again(held_out), made.network(held_out))
    assert torch.equal(again(held_out), torch.cat([again(sample[None]) for sample in held_out]))


@converting
def test_what_is_ignored_stays_in_float_and_the_audit_says_so(trained, example):
    backend = build_backend("litert", {"ignored": ["classifier/FULLY_CONNECTED"]})
    layers = backend.compress(trained, "weight_only", example, recorded()).layers
    (kept,) = [layer for layer in layers if layer.bits == 32]
    assert kept.name == "classifier"
    assert kept.reason == (
        "FULLY_CONNECTED kept in float: AI Edge Quantizer compresses weights of it not, or was told to leave it"
    )


@pytest.mark.slow
@converting
def test_a_network_that_litert_cannot_take_is_refused_with_the_reason():
    class Sorts(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x @ x.transpose(1, 2)).real

    with pytest.raises(QuantizationError, match="LiteRT cannot convert Sorts: "):
        build_backend("litert").compress(Sorts().eval(), "fp32", (torch.rand(2, 3, 3),), recorded())


@pytest.mark.slow
@converting
def test_a_trial_becomes_a_file_that_is_verified_and_timed_against_others(tmp_path):
    run_sweep(tiny("backends=litert", "schemes=fp32,static", "thresholds=0"), runs_dir=tmp_path)
    for scheme in ("fp32", "static"):
        done = export_trial(tmp_path / "tiny", f"{scheme}", "tflite", tmp_path / f"{scheme}.tflite")
        assert done.verification.bit_equal
    files = open_files([tmp_path / "fp32.tflite", tmp_path / "static.tflite"], batch=3)
    assert [file.feeds[0].shape for file in files] == [(3, 1, 8, 8)] * 2
    for file in files:
        load_file(str(file.path), file.feeds, 1)()
    with pytest.raises(SparsebenchError, match="cannot become"):
        export_trial(tmp_path / "tiny", "static", "onnx", tmp_path / "net.onnx")
