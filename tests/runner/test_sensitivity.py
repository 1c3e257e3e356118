"""Sensitivity: one layer at a time, on validation data, of the very networks that a sweep starts from."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from sweeps import Recorder, sparsebench, tiny, tiny_arguments
from torch.nn.utils import prune

from sparsebench import run_sweep
from sparsebench.data import load_splits
from sparsebench.report import write_sensitivity
from sparsebench.runner.sequencer import run_sensitivity
from sparsebench.runner.stages import Workbench
from sparsebench.store.results import SensitivityResult
from sparsebench.store.run_directory import Store

CONFIG = ("thresholds=0,0.5,0.9", "schemes=fp32", "train.epochs=3")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return runs, run_sensitivity(tiny(*CONFIG), runs_dir=runs)


def test_every_layer_is_pruned_alone_to_every_threshold(finished):
    (record,) = finished[1]
    assert isinstance(record.result, SensitivityResult)
    layers = ["features.0", "features.4", "features.8", "classifier"]
    assert [(p.layer, p.threshold) for p in record.result.points] == [(n, t) for n in layers for t in (0.5, 0.9)]
    assert record.result.samples == 360


def test_the_accuracies_are_those_of_networks_pruned_by_hand(finished):
    runs, (record,) = finished
    store = Store(Path(runs) / "tiny")
    network = Workbench(store, "cpu").trained(store.read("train", record.parent))
    images, labels = load_splits("digits").val.tensors
    with torch.no_grad():
        weight = network.features[4].weight
        prune.l1_unstructured(network.features[4], "weight", amount=0.9)
        prune.remove(network.features[4], "weight")
        assert (network.features[4].weight == 0).sum() == round(0.9 * weight.numel())
        accuracy = (network(images).argmax(1) == labels).double().mean()
    (found,) = [p.accuracy for p in record.result.points if (p.layer, p.threshold) == ("features.4", 0.9)]
    assert found == pytest.approx(float(accuracy))


def test_the_networks_are_those_of_the_sweep_so_that_nothing_is_trained_twice(finished):
    recorder = Recorder()
    run_sweep(tiny(*CONFIG, "thresholds=0"), runs_dir=finished[0], watcher=recorder)
    assert "train" not in recorder.ran


def test_the_report_has_a_table_a_heat_map_and_the_numbers(finished, tmp_path):
    text = write_sensitivity("tiny", finished[1], tmp_path).read_text()
    assert "| features.4 |" in text
    assert (tmp_path / "figures/sensitivity-small-cnn-digits.png").stat().st_size > 5000
    assert len(json.loads((tmp_path / "sensitivity.json").read_text())) == 4 * 2


def test_the_command_writes_the_report(tmp_path):
    done = sparsebench("sensitivity", *tiny_arguments("train.epochs=1"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "reports/tiny/sensitivity.md").read_text()
    heads = ["Most sensitive", "Least sensitive", "How sure"]
    assert re.findall(r"^- \*\*(.*?):\*\*", text, re.MULTILINE) == heads
    assert [line.partition("  ")[0] for line in done.stdout.splitlines() if line.startswith(tuple(heads))] == heads
    # What it advises can be pasted: the same sweep with a threshold of its own for the layer that minds most.
    (advice,) = re.findall(r"^  (sparsebench run .*)", done.stdout, re.MULTILINE)
    words = shlex.split(advice)[1:]
    assert words[-3:-1] == ["name=tiny-per-layer", "--set"]
    again = sparsebench(*words, "--dry-run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
