"""Backends: what eager offers, how it compresses and restores, and that planning with it costs no import of torch."""

import subprocess
import sys
import warnings

import pytest
import torch
from recordings import recorded, stored
from small_nets import ConvOnly, SmallCNN, SmallGRU, Stubbed, StubbedGRU, built, images, packed, sequences
from torch import nn

from sparsebench.backends import build_backend, probe
from sparsebench.backends.eager import offer
from sparsebench.backends.eager.backend import Eager
from sparsebench.errors import QuantizationError, SparsebenchError
from sparsebench.registry import BACKENDS, SCHEMES


@pytest.fixture
def with_scheme(monkeypatch):
    """Register one more scheme for the length of a test."""

    def register(name, reference):
        monkeypatch.setitem(SCHEMES.builtin, name, reference)

    return register


def test_eager_is_registered_and_runs_here():
    assert BACKENDS.load("eager") is Eager
    assert Eager().name == "eager"
    assert Eager().problem() is None


@pytest.mark.parametrize("scheme", ["fp32", "dynamic", "static", "both", "post"])
def test_eager_offers(scheme):
    assert Eager().offers(scheme) is None


def test_a_scheme_of_this_package_that_eager_has_not_is_not_offered(with_scheme):
    with_scheme("ternary", "sparsebench.quantization.int8:QAT")
    assert Eager().offers("ternary") == "eager does not offer ternary."
    with pytest.raises(QuantizationError, match="eager does not offer ternary"):
        Eager().compress(built(SmallCNN), "ternary", (images(),), recorded())


class Doubled:
    """A scheme as an installed package could bring it."""

    name = "doubled"
    calibrates = False

    def prepare(self, net, example):
        return net

    def convert(self, prepared):
        return nn.Sequential(prepared, nn.Identity())


def test_a_scheme_of_an_installed_package_is_offered_and_runs(with_scheme):
    with_scheme("doubled", f"{__name__}:Doubled")
    assert Eager().offers("doubled") is None
    assert isinstance(Eager().compress(built(SmallCNN), "doubled", (images(),), recorded()).network, nn.Sequential)


def test_an_unknown_scheme_is_not_offered_and_the_nearest_is_named():
    assert "'statik' is not known. Did you mean 'static'?" in Eager().offers("statik")


def test_without_torch_ao_the_int8_schemes_are_not_offered(monkeypatch):
    monkeypatch.setattr(offer, "_has_torch_ao", lambda: False)
    assert Eager().offers("fp32") is None
    for scheme in ("dynamic", "static", "both"):
        assert f"eager does not offer {scheme}: the installed torch has no torch.ao.quantization" in Eager().offers(
            scheme
        )


def test_without_torch_the_problem_says_what_to_install(monkeypatch):
    for module in (probe, offer):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert Eager().problem() == "torch is not installed; run 'pip install torch'."
    assert "has no torch.ao" in Eager().offers("static")


def test_asking_what_is_offered_does_not_import_torch():
    code = (
        "import sys; from sparsebench.backends import build_offer; backend = build_offer('eager'); "
        "print([backend.offers(s) for s in ('fp32', 'dynamic', 'static', 'both')], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[None, None, None, None] False\n"


@pytest.mark.parametrize(("scheme", "used"), [("fp32", 0), ("dynamic", 0), ("static", 2), ("both", 2)])
def test_calibration_batches_are_read_only_where_the_scheme_calibrates(scheme, used):
    batches = recorded(images(), images())
    compressed = Eager().compress(built(SmallCNN), scheme, (images(),), batches)
    assert batches.used == used
    assert list(compressed.files) == (["calibration.pt"] if used else [])


def test_fp32_is_a_copy_in_evaluation_mode():
    net = built(SmallCNN).train()
    network = Eager().compress(net, "fp32", (images(),), recorded()).network
    assert network is not net
    assert net.training
    assert not network.training
    assert torch.equal(network(images()), net.eval()(images()))


@pytest.mark.parametrize("scheme", ["fp32", "dynamic", "static", "both"])
@pytest.mark.parametrize(
    ("kind", "inputs"), [(SmallCNN, images), (SmallGRU, sequences), (SmallGRU, packed), (Stubbed, images)]
)
def test_restore_returns_what_compress_returned(scheme, kind, inputs, tmp_path):
    net, batch = built(kind), inputs()
    compressed = Eager().compress(net, scheme, (batch,), recorded(batch))
    restored = Eager().restore(net, scheme, (batch,), stored(compressed, tmp_path))
    assert torch.equal(restored(batch), compressed.network(batch))


@pytest.mark.parametrize("scheme", ["fp32", "dynamic", "static", "both"])
def test_no_warning_of_the_library_reaches_the_user(scheme, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compressed = Eager().compress(built(SmallCNN), scheme, (images(),), recorded(images()))
        Eager().restore(built(SmallCNN), scheme, (images(),), stored(compressed, tmp_path))
        compressed.network(images())


def test_the_calibration_of_another_scheme_is_refused(tmp_path):
    calibration = stored(Eager().compress(built(SmallCNN), "static", (images(),), recorded(images())), tmp_path)
    with pytest.raises(QuantizationError, match="does not belong to this network"):
        Eager().restore(built(SmallCNN), "dynamic", (images(),), calibration)
    with pytest.raises(QuantizationError, match="does not belong to this network"):
        Eager().restore(built(SmallCNN), "static", (images(),), {})


def test_a_calibration_that_reads_no_batch_is_refused():
    with pytest.raises(QuantizationError, match="was not calibrated"):
        Eager().compress(built(SmallCNN), "static", (images(),), recorded())


def test_a_network_that_converts_but_does_not_run_is_refused_at_once():
    net = built(Stubbed)
    net.quant = nn.Identity()  # one stub is forgotten: the convolution is int8, its input is not
    net.second = built(Stubbed).quant
    with pytest.raises(QuantizationError, match=r"was converted by static but does not run: .*QuantStub"):
        Eager().compress(net, "static", (images(),), recorded(images()))


def test_a_gru_inside_the_marked_part_gets_its_input_back_in_float():
    batch = sequences()
    compressed = Eager().compress(built(StubbedGRU), "static", (batch,), recorded(batch))
    assert type(compressed.network.rnn) is nn.GRU
    assert compressed.network(batch).dtype == torch.float32


def test_any_batch_size_runs():
    network = Eager().compress(built(ConvOnly), "static", (images(4),), recorded(images(4))).network
    assert network(images(7)).shape == (7, 4)


def test_eager_has_nothing_to_specialise():
    net = built(SmallCNN)
    assert Eager().specialise(net, (images(1),), threads=1) is net


def test_options_that_a_backend_does_not_take_are_named():
    with pytest.raises(SparsebenchError, match=r"'eager' cannot be built with these options: .* takes device"):
        build_backend("eager", {"preset": "mixed"})
