"""Every network of a kind × every scheme × every backend: it agrees with fp32, or says why it does not run."""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import matrix_nets
import pytest
import torch
from matrix_nets import NETS, batches, held_out, outputs, settled
from recordings import stored
from torch import nn

from sparsebench.backends import build_backend
from sparsebench.errors import QuantizationError
from sparsebench.quantization import Recording
from sparsebench.registry import BACKENDS, SCHEMES

AGREES = "agrees"

FORMATS = ("fp32", "dynamic", "static", "both", "qat", "weight_only", "bf16", "fp16", "sparse_2_4")
"""The schemes that the tables below speak of; others, of installed packages, must agree or give a reason."""

NOT_OFFERED = {
    "eager": {"sparse_2_4": "GPU"},
    "inductor": {
        "dynamic": "inductor does not offer dynamic",
        "both": "inductor does not offer both",
        "qat": "inductor does not offer qat",
        "sparse_2_4": "inductor does not offer sparse_2_4",
    },
    "onnxruntime": {
        "qat": "onnxruntime does not offer qat",
        "weight_only": "onnxruntime does not offer weight_only",
        "bf16": "onnxruntime does not offer bf16",
        "fp16": "onnxruntime does not offer fp16",
        "sparse_2_4": "onnxruntime does not offer sparse_2_4",
    },
    "litert": {
        "both": "litert does not offer both",
        "qat": "LiteRT does not train",
        "bf16": "litert does not offer bf16",
        "fp16": "litert does not offer fp16",
        "sparse_2_4": "litert does not offer sparse_2_4",
    },
    "openvino": {
        "dynamic": "no int8 with ranges found at run time",
        "both": "no int8 with ranges found at run time",
        "qat": "NNCF trains for int8 in a training loop of its own",
        "sparse_2_4": "openvino does not offer sparse_2_4",
    },
}
"""What each backend says to the schemes that it does not offer; all others it offers where it is installed."""

BY_PROCESSOR = {("lstm", "bf16", "inductor"): "could not create a primitive descriptor"}
"""What runs on some processors only: (network, scheme, backend) and a part of the reason on others. oneDNN has LSTMs in
bf16 where the processor has instructions for it."""

COMPILING = {("small_cnn", "fp32"), ("small_cnn", "static"), ("resnet20", "static"), ("gru", "fp32")}
"""What inductor, which compiles each for ten seconds and more, is tried with unless all tests are wanted."""


@dataclass
class Made:
    """A network brought into a scheme, or why it could not be."""

    network: nn.Module | None = None
    files: dict = field(default_factory=dict)
    reason: str = ""
    leaked: tuple = ()


def _cells():
    for net in NETS:
        for backend in BACKENDS:
            for scheme in SCHEMES:
                emulated = backend == "eager" and scheme in ("bf16", "fp16") and net.startswith("resnet")
                left_out = (
                    backend == "inductor" and scheme not in NOT_OFFERED[backend] and (net, scheme) not in COMPILING
                )
                # They take long there, and the small ones go the same ways.
                left_out |= NETS[net].large and backend in ("onnxruntime", "openvino")
                # Its converter takes ten seconds for each network, most of them to begin; test_litert.py has one.
                left_out |= backend == "litert" and scheme not in NOT_OFFERED[backend]
                marks = [pytest.mark.slow] if left_out or emulated else []
                yield pytest.param(net, scheme, backend, marks=marks, id=f"{net}-{backend}-{scheme}")


every_cell = pytest.mark.parametrize(("net", "scheme", "backend"), list(_cells()))


@cache
def float_net(name):
    net = settled(name)
    net.built_of = name  # The file that it is exported to is kept.
    return net


@cache
def float_outputs(name):
    return outputs(float_net(name), held_out(name)[0])


@cache
def recording(name):
    def read(network):
        for batch in batches(name):
            network(batch)

    return Recording(float_net(name), read, limit=len(batches(name)))


def further(name):
    """Return what trains a network a little further on structured inputs, as quantization-aware training does."""

    def train(prepared):
        inputs, labels = matrix_nets.structured(NETS[name].shape, 64, seed=4)
        optimizer = torch.optim.SGD(prepared.parameters(), lr=1e-4)
        prepared.train()
        for batch, wanted in zip(inputs.split(16), labels.split(16), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(prepared(batch), wanted).backward()
            optimizer.step()
        return prepared.eval()

    return train


@cache
def made(net, scheme, backend):
    """Return a network in a scheme on a backend; whatever is raised but an error of ours fails the test."""
    running = build_backend(backend)
    reason = running.problem() or running.offers(scheme)
    if reason:
        return Made(reason=reason)
    torch.manual_seed(0)
    example = (batches(net)[0][:8],)
    training = {"train": further(net)} if SCHEMES.facts(scheme).trains else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            compressed = running.compress(float_net(net), scheme, example, recording(net), **training)
        except QuantizationError as error:
            return Made(reason=str(error))
    leaked = tuple(w for w in caught if issubclass(w.category, DeprecationWarning | FutureWarning))
    return Made(compressed.network, dict(compressed.files), leaked=leaked)


@every_cell
def test_a_network_agrees_with_fp32_or_says_why_it_does_not_run(net, scheme, backend):
    problem = build_backend(backend).problem()
    if problem:
        pytest.skip(problem)
    expected = NOT_OFFERED.get(backend, {}).get(scheme, AGREES)
    found = made(net, scheme, backend)
    by_processor = BY_PROCESSOR.get((net, scheme, backend))
    if by_processor and by_processor in found.reason:
        return
    if found.network is None:
        assert found.reason.endswith((".", "'", '"'))
        if backend in NOT_OFFERED and scheme in FORMATS:
            assert expected in found.reason
        return
    if backend in NOT_OFFERED and scheme in FORMATS:
        assert expected == AGREES
    ours, wanted = outputs(found.network, held_out(net)[0]).float(), float_outputs(net)
    agreement = float((ours.argmax(1) == wanted.argmax(1)).double().mean())
    assert agreement >= 0.95
    if scheme == "fp32":
        assert float((ours - wanted).abs().max()) <= 1e-3 * float(wanted.abs().max())
    assert [str(warning.message) for warning in found.leaked] == []


@pytest.mark.parametrize("net", NETS)
def test_the_inputs_are_told_apart_so_that_agreement_means_something(net):
    labels = held_out(net)[1]
    scores = float_outputs(net)
    assert float((scores.argmax(1) == labels).double().mean()) >= 0.97
    best = scores.topk(2).values
    assert float((best[:, 0] - best[:, 1]).median()) > 1.0  # of scores that lie 10 apart where they are certain


@pytest.fixture(scope="session")
def reloaded(request, tmp_path_factory):
    """Restore every network that the selected tests ask for in one new process; return its outputs by cell."""
    cells = {
        tuple(item.callspec.params[name] for name in ("net", "scheme", "backend"))
        for item in request.session.items
        if getattr(item, "originalname", "") == "test_a_restored_network_gives_the_same_bits_in_a_new_process"
        and not item.get_closest_marker("skip")
    }
    root, places = tmp_path_factory.mktemp("matrix"), {}
    for number, cell in enumerate(sorted(cells)):
        found = made(*cell)
        if found.network is not None:
            places[cell] = folder = root / f"{number:03}"
            stored(found, folder / "files")
            torch.save(float_net(cell[0]).state_dict(), folder / "float.pt")
            (folder / "asked.json").write_text(json.dumps(dict(zip(("net", "scheme", "backend"), cell, strict=True))))
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1] / "helpers"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, matrix_nets.__file__, str(root)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {cell: torch.load(folder / "again.pt", weights_only=True) for cell, folder in places.items()}


@pytest.mark.slow
@every_cell
def test_a_restored_network_gives_the_same_bits_in_a_new_process(net, scheme, backend, reloaded):
    found = made(net, scheme, backend)
    if found.network is None:
        pytest.skip(found.reason)
    assert torch.equal(outputs(found.network, held_out(net)[0]), reloaded[net, scheme, backend])
