"""What is said of where the time goes: of profiles made by hand, and of networks whose cause is known."""

import json

import pytest
import torch
from sweeps import sparsebench, tiny
from torch import nn

from sparsebench import load_run, run_sweep
from sparsebench.backends import build_backend
from sparsebench.backends.profiling import profile
from sparsebench.errors import SparsebenchError
from sparsebench.explain.findings import CONVERSIONS, FLOAT, INT8, OTHER, Explanation, Part, Profile
from sparsebench.explain.trials import explain_trials

RELU = ("", "Relu", 20.0, OTHER, 1)


def made(label, microseconds, *parts, batch_size=1, **more):
    told = tuple(Part(*part) for part in parts)
    return Profile(label=label, batch_size=batch_size, microseconds=microseconds, parts=told, **more)


DENSE = made("dense", 100.0, ("conv", "Conv", 60.0, FLOAT, 1), ("fc", "Gemm", 20.0, FLOAT, 1), RELU)


def said(base, other):
    return " ".join(Explanation(pairs=((base, other),), threads=1).sentences)


def test_conversions_around_float_layers_are_named_as_what_takes_more():
    int8 = made(
        "int8",
        150.0,
        ("conv", "Conv", 60.0, FLOAT, 1),
        ("fc", "QGemm", 10.0, INT8, 1),
        ("", "Relu", 20.0, OTHER, 1),
        ("", "QuantizeLinear", 40.0, CONVERSIONS, 2),
        ("", "DequantizeLinear", 20.0, CONVERSIONS, 2),
        in_float={"conv": "it was told to"},
    )
    text = said(DENSE, int8)
    assert text.startswith("int8 takes 1.50× the time of dense (0.15 ms against 0.1 ms a call at batch 1).")
    assert "Of what it takes more, 86 % is conversions: 2 × QuantizeLinear and 2 × DequantizeLinear." in text
    assert "40 % of its time are 4 conversions around 1 float layer: 2 × QuantizeLinear" in text
    assert "1 layer of it still in float: conv (it was told to)." in text


def test_a_layer_that_became_slower_is_named_with_what_runs_in_its_place():
    int8 = made("int8", 300.0, ("conv", "Conv", 60.0, FLOAT, 1), ("fc", "linear_dynamic", 220.0, INT8, 64))
    assert "fc takes 220.0 µs in place of 20.0: 1 × Gemm before, 64 × linear_dynamic now." in said(DENSE, int8)


def test_what_is_faster_is_said_to_be_so():
    int8 = made("int8", 40.0, ("conv", "QLinearConv", 15.0, INT8, 1), ("fc", "QGemm", 5.0, INT8, 1), RELU)
    text = said(DENSE, int8)
    assert "0.40×" in text
    assert "Of what it takes less, 100 % is in float layers: 1 × Conv and 1 × Gemm before." in text


def test_a_fallback_kernel_is_named_with_its_share():
    slow = made("dense", 100.0, ("conv", "aten::_slow_conv2d_forward", 60.0, FLOAT, 1), ("", "Relu", 40.0, OTHER, 1))
    assert "60 % of the time of dense is convolution without oneDNN" in said(slow, DENSE)


def test_channels_off_the_vector_width_are_named():
    pruned = made("pruned", 90.0, ("conv", "Conv", 70.0, FLOAT, 1), off_width={"conv": 13}, width=8)
    assert "Channels of 1 layer do not fill the vectors of 8: conv has 13." in said(DENSE, pruned)


def test_another_batch_size_tells_what_it_changes():
    at_1 = made("int8", 150.0, ("conv", "QLinearConv", 50.0, INT8, 1), ("", "QuantizeLinear", 50.0, CONVERSIONS, 1))
    parts = ("conv", "QLinearConv", 450.0, INT8, 1), ("", "QuantizeLinear", 50.0, CONVERSIONS, 1)
    at_32 = made("int8", 500.0, *parts, batch_size=32)
    dense_32 = made("dense", 1000.0, ("conv", "Conv", 1000.0, FLOAT, 1), batch_size=32)
    text = Explanation(pairs=((DENSE, at_1), (dense_32, at_32)), threads=1).sentences[-1]
    assert text == (
        "At batch 32 it takes 0.50× the time, at batch 1 1.50×: int8 layers have 90 % of it there, 50 % here."
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    run_sweep(
        tiny("thresholds=0", "schemes=fp32,static,dynamic", "backends=eager,onnxruntime,openvino"), runs_dir=folder
    )
    return folder / "tiny"


@pytest.mark.parametrize("backend", ["eager", "onnxruntime", "openvino"])
def test_the_layers_of_a_network_are_found_in_what_its_runtime_tells(run, backend):
    ((dense, int8),) = explain_trials(run, f"static {backend}", batch_sizes=[1]).pairs
    assert {layer.name for layer in load_run(run).trials[0].trained.layers} <= set(dense.layers())
    assert dense.of_group(INT8) == 0
    assert int8.of_group(INT8) > 0
    assert dense.of_group(FLOAT) > 0


def test_the_trial_must_have_a_network_beside_it(run):
    with pytest.raises(SparsebenchError, match="Name the trial that it is to be compared with"):
        explain_trials(run, "fp32 eager")


def test_the_command_prints_sentences_and_tables_or_json(run):
    done = sparsebench("explain", "tiny", "dynamic eager", "--batch", "2", "--runs-dir", str(run.parent), cwd=run)
    assert done.returncode == 0, done.stderr
    assert "takes" in done.stdout
    assert "mostly" in done.stdout
    done = sparsebench("explain", str(run), "dynamic eager", "--json", cwd=run)
    assert {one["batch_size"] for one in json.loads(done.stdout)["profiles"]} == {1}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(8, 16, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


def test_a_dynamic_lstm_of_eager_runs_by_another_operator():
    """Why it is slower: in float torch has a single operator of oneDNN for the whole sequence."""
    example = (torch.randn(1, 20, 8),)
    net, eager = Recurrent().eval(), build_backend("eager")
    layers = {}
    for scheme in ("fp32", "dynamic"):
        told = profile(eager.compress(net, scheme, example, None).network, example, threads=1)
        most = max((one for one in told if one.name == "rnn"), key=lambda one: one.microseconds)
        layers[scheme] = (most.operator, most.computed_in)
    assert layers == {"fp32": ("aten::mkldnn_rnn_layer", "fp32"), "dynamic": ("aten::quantized_lstm", "int8")}


class Slow(nn.Module):
    def forward(self, x):
        for _ in range(20_000):
            pass
        return x + 1


def test_what_passes_in_python_is_told_apart_from_operators():
    told = profile(nn.Sequential(Slow(), nn.Linear(4, 4)), (torch.ones(1, 4),), threads=1)
    between = {one.name: one.microseconds for one in told if one.role == "between"}
    assert between["0"] > 5 * between["1"]
