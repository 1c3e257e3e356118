"""MACs and working memory in the records of a run, and a network that does not let itself be counted."""

import csv

import pytest
from sweeps import tiny
from torch import nn

from reports import everything
from sparsebench import run_sweep
from sparsebench.report import write_report


def by_threshold_and_scheme(run):
    return {(trial.trial.threshold, trial.trial.scheme): trial for trial in run.trials}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return by_threshold_and_scheme(run_sweep(tiny(), runs_dir=tmp_path_factory.mktemp("runs")))


def test_a_trained_network_is_recorded_with_its_macs(finished):
    dense, pruned = finished[0.0, "fp32"].trained, finished[0.8, "fp32"].trained
    # 8 × 8 pixels; 8, 16 and 16 channels after 3 × 3, with a pooling by two after the first and the second.
    assert dense.macs == sum(layer.macs for layer in dense.layers) == pruned.macs
    assert dense.layers[0].macs == 64 * dense.layers[0].weights
    assert dense.effective_macs == dense.macs > pruned.effective_macs > 0
    for layer in pruned.layers:
        assert layer.effective_macs == layer.macs // layer.weights * (layer.weights - layer.zeros)


def test_int8_activations_need_less_working_memory(finished):
    fp32, static = (finished[0.0, scheme].compressed.working_memory_bytes for scheme in ("fp32", "static"))
    # The first pooling: 8 channels of 8 × 8 values in, and of 4 × 4 out.
    assert (fp32, static) == (4 * 8 * (64 + 16), 8 * (64 + 16))


class Uncountable(nn.Module):
    """A linear layer that is no matrix product, after a module that gives nothing to measure."""

    class Layer(nn.Linear):
        def forward(self, x):
            return (x[:, None] * self.weight).sum(-1) + self.bias

    def __init__(self, classes, features):
        super().__init__()
        self.layer = self.Layer(features, classes)

    def forward(self, x):
        return self.layer(x.flatten(1))


def uncountable(num_classes, input_shape):
    return Uncountable(num_classes, input_shape[0] * input_shape[1] * input_shape[2])


def test_a_network_that_cannot_be_counted_is_trained_all_the_same_and_the_report_says_why(tmp_path):
    config = tiny("model.name=test_counts_in_runs:uncountable", "model.options={}", "schemes=fp32", "thresholds=0")
    run = run_sweep(config, runs_dir=tmp_path)
    (trial,) = run.trials
    assert trial.status == "done"
    assert (trial.trained.macs, trial.trained.effective_macs) == (None, None)
    text = everything(write_report(run, tmp_path / "report"))
    assert "MACs and theoretical speedup could not be measured: SparsebenchError: The MACs of layer (Layer)" in text
    (row,) = csv.DictReader((tmp_path / "report" / "data.csv").open(newline=""))
    assert row["macs"] == ""
