"""Sweeps over networks in which one weight is in two places, or is computed from others: counted once, and shipped."""

import pytest
import safetensors.torch
import torch
from sweeps import tiny
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

from sparsebench import run_sweep
from sparsebench.errors import ModelError, NoEffectWarning
from sparsebench.export import export_trial
from sparsebench.training.checkpoints import load_saved, save_weights

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")


class Twice(nn.Module):
    """One square weight in two layers, one module under two names, and a classifier that is an embedding."""

    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Linear(64, 32)
        self.second, self.third = nn.Linear(32, 32), nn.Linear(32, 32)
        self.third.weight = self.second.weight
        self.alias = self.first
        self.classes = nn.Embedding(num_classes, 32)
        self.fc = nn.Linear(32, num_classes)
        self.fc.weight = self.classes.weight

    def forward(self, x):
        x = torch.relu(self.alias(x.flatten(1)))
        x = torch.relu(self.third(torch.relu(self.second(x))))
        return self.fc(x + self.classes.weight.mean(0))


WEIGHTS = 64 * 32 + 32 * 32 + 10 * 32


class Normed(nn.Module):
    """Its last hidden layer is orthogonal, in which no zero would last."""

    def __init__(self, num_classes, form=weight_norm):
        super().__init__()
        self.conv = form(nn.Conv2d(1, 8, 3, stride=2, padding=1))
        self.hidden = form(nn.Linear(128, 24))
        self.turn = parametrizations.orthogonal(nn.Linear(24, 24))
        self.fc = nn.Linear(24, num_classes)

    def forward(self, x):
        return self.fc(self.turn(torch.relu(self.hidden(torch.relu(self.conv(x)).flatten(1)))))


def renewed(num_classes):
    return Normed(num_classes, parametrizations.weight_norm)


def swept(factory, *overrides):
    name = f"model.name={factory.__module__}:{factory.__name__}"
    return run_sweep(tiny(name, "model.options={}", "thresholds=0,0.6", *overrides), runs_dir="runs")


def test_a_weight_in_two_places_is_one_in_every_count_and_in_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = swept(Twice, "schemes=fp32,dynamic,static,qat,weight_only", "train.epochs=1", "prune.include_classifier=true")
    assert [trial.status for trial in run.trials] == ["done"] * 10
    pruned = {trial.trial.scheme: trial for trial in run.trials if trial.trial.threshold}
    trained = pruned["fp32"].trained
    assert (trained.prunable_weights, trained.prunable_zeros) == (WEIGHTS, round(0.6 * WEIGHTS))
    assert (trained.parameters, trained.parameter_zeros) == (WEIGHTS + 3 * 32 + 10, round(0.6 * WEIGHTS))
    assert {layer.name: layer.weights for layer in trained.layers} == {"first": 2048, "second": 1024, "fc": 320}
    assert {layer.name: layer.macs for layer in trained.layers} == {"first": 2048, "second": 2 * 1024, "fc": 320}
    assert trained.macs == sum(layer.macs for layer in trained.layers)
    assert pruned["fp32"].compressed.weights == WEIGHTS
    assert pruned["fp32"].compressed.size.nonzero_parameters == trained.parameters - trained.parameter_zeros
    assert pruned["dynamic"].int8_mac_fraction == 1.0
    exported = export_trial("runs/tiny", pruned["fp32"].trial.label, "safetensors", "net.safetensors", trust=True)
    assert exported.verification.bit_equal
    assert (
        sum(tensor.numel() for tensor in safetensors.torch.load_file("net.safetensors").values()) == trained.parameters
    )


@pytest.mark.parametrize("factory", [Normed, renewed])
def test_a_network_of_computed_weights_is_pruned_compressed_and_exported(factory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(NoEffectWarning, match=r"14.5 % of the network's matrix weights cannot be pruned"):  # Before.
        run = swept(factory, "schemes=fp32,dynamic,static,qat", "train.epochs=1")
    assert [trial.status for trial in run.trials] == ["done"] * 8
    pruned = next(trial for trial in run.trials if trial.trial.threshold)
    prunable = 8 * 9 + 128 * 24
    assert (pruned.trained.prunable_weights, pruned.trained.prunable_zeros) == (prunable, round(0.6 * prunable))
    assert pruned.trained.parameters == prunable + 24 * 24 + 24 * 10 + 8 + 24 + 24 + 10, "as in the network that ships"
    dense = {layer.name for layer in pruned.trained.layers if not layer.prunable}
    assert dense == {"turn", "fc"}
    (said,) = pruned.train.warnings
    assert said.startswith(
        "14.5 % of the network's matrix weights cannot be pruned and stay dense: "
        "turn.parametrizations.weight.original (Linear, computed)."
    )
    assert not run.trials[0].train.warnings, "nobody asked for zeros"
    for kind, suffix in (("safetensors", ".safetensors"), ("pt2", ".pt2")):
        exported = export_trial("runs/tiny", pruned.trial.label, kind, f"{kind}{suffix}", trust=True)
        assert exported.verification.value == pruned.evaluated.top1


def test_averaged_weights_are_named_in_the_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net, raw = renewed(10), renewed(10)
    torch.save({"state_dict": raw.state_dict(), "state_dict_ema": net.state_dict()}, "net.pth")
    loaded = swept(renewed, "model.weights=net.pth", "train.dense_control=as_trained", "thresholds=0", "schemes=fp32")
    record = loaded.trials[0].train
    assert record.result.loaded.averaged
    assert record.result.loaded.part == "under 'state_dict_ema'"
    assert record.warnings == (
        "Of the checkpoint 'net.pth', the averaged weights (EMA), under 'state_dict_ema', were loaded; those that are "
        "not averaged, under 'state_dict', were not used.",
    )


def storage_of_two():
    whole = torch.randn(8, 4)
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    net[0].weight, net[1].weight = nn.Parameter(whole[:4]), nn.Parameter(whole[4:])
    net[2].weight = nn.Parameter(net[1].weight.data.T)
    return net


def test_parts_of_one_storage_are_saved_and_loaded_again(tmp_path):
    path = tmp_path / "net.safetensors"
    net, fresh, parted = storage_of_two(), storage_of_two(), storage_of_two()
    save_weights(net, path)
    saved = safetensors.torch.load_file(path)
    assert set(saved) == {"0.weight", "0.bias", "1.weight", "1.bias", "2.bias"}
    load_saved(fresh, path.read_bytes(), path)
    assert all(torch.equal(own, value) for own, value in zip(fresh.parameters(), net.parameters(), strict=True))
    parted[2].weight = nn.Parameter(torch.randn(4, 4))  # as on its way to a GPU and back
    save_weights(parted, path)
    load_saved(fresh, path.read_bytes(), path)
    assert all(torch.equal(own, value) for own, value in zip(fresh.parameters(), parted.parameters(), strict=True))
    save_weights(nn.Sequential(nn.Linear(4, 4)), path)
    with pytest.raises(
        ModelError, match=r"is not of what its factory builds now: 1\.weight, 1\.bias, 2\.weight, 2\.bias differ"
    ):
        load_saved(storage_of_two(), path.read_bytes(), path)
