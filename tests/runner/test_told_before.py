"""What a sweep says of networks and data before any work: in what was found, and what to do."""

import pytest
import quick
import torch
from torch import nn
from torch.utils.data import Dataset

from sparsebench import load_config
from sparsebench.errors import ConfigError, NoEffectWarning, OutputsWarning
from sparsebench.runner.sequencer import check_sweep


def checked(tmp_path, *overrides):
    check_sweep(load_config(None, [*quick.QUICK, *overrides]), tmp_path / "quick")


class Mostly(nn.Module):
    """Most of its weights are no layer's."""

    def __init__(self, num_classes):
        super().__init__()
        self.free = nn.Parameter(torch.randn(16, 64) * 0.1)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.fc(torch.relu(x.flatten(1) @ self.free))


@pytest.mark.parametrize(
    ("overrides", "told"), [((), True), (("thresholds=0",), False), (("pruners=structured",), False)]
)
def test_weights_that_cannot_be_pruned_are_told_by_a_dry_run(tmp_path, overrides, told, recwarn):
    checked(tmp_path, "model.name=test_told_before:Mostly", *overrides)
    texts = [str(one.message) for one in recwarn if "cannot be pruned" in str(one.message)]
    assert len(texts) == told
    if told:
        assert texts[0].startswith("test_told_before:Mostly: 84.2 % of the network's matrix weights cannot be pruned")
        assert "free (Mostly)" in texts[0]


class Hides(nn.Module):
    """Keeps a layer in a list and a weight in a dictionary, where torch does not look."""

    def __init__(self, num_classes):
        super().__init__()
        self.first, self.classifier = nn.Linear(16, 24), nn.Linear(24, num_classes)
        self.blocks, self.scales = [nn.Linear(24, 24)], {"one": nn.Parameter(torch.ones(24))}
        self.seen = [self.first]  # It is a layer already.

    def forward(self, x):
        return self.classifier(torch.relu(self.blocks[0](self.first(x.flatten(1))) * self.scales["one"]))


def test_layers_in_a_list_of_pythons_are_told_of(tmp_path):
    text = r"Hides keeps layers in a list or mapping of Python's \(blocks, scales\), where torch does not know of them"
    with pytest.warns(match=text):
        checked(tmp_path, "model.name=test_told_before:Hides")


class Softened(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(16, num_classes), nn.Softmax(1))


def test_probabilities_in_place_of_logits_are_told_of(tmp_path):
    with pytest.warns(match="Softened returns probabilities, and CrossEntropyLoss takes logits"):
        checked(tmp_path, "model.name=test_told_before:Softened")


def test_a_sound_network_is_not_told_of(tmp_path, recwarn):
    checked(tmp_path)
    assert not [one for one in recwarn if one.category in (NoEffectWarning, OutputsWarning)]


def scripted(num_classes):
    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(16, num_classes)))


class Rotates(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.turn = nn.Linear(16, num_classes, dtype=torch.complex64)

    def forward(self, x):
        return self.turn(x.flatten(1).to(torch.complex64)).abs()


class Unlabelled(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return torch.zeros(1, 4, 4), None


def unlabelled():
    return [Unlabelled()] * 3, quick.CLASSES


class Listed(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return [[float(index)] * 4] * 4, index % 3


def listed():
    return [Listed()] * 3, quick.CLASSES


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("model.name=test_told_before:scripted", "is a TorchScript program, .*give the network that it was made of"),
        ("model.name=test_told_before:Rotates", r"Rotates has complex weights \(turn.weight, turn.bias\)"),
        ("data.name=test_told_before:unlabelled", "No batch could be read for the network: TypeError: .*NoneType"),
        ("data.name=test_told_before:listed", r"a batch of shape \(2,\) and \(2,\) and \(2,\) and \(2,\) and 12 more"),
        ("model.weights=.", "model.weights = '.' is a folder; give one file"),
    ],
)
def test_what_nothing_can_be_done_with_is_refused_by_a_sentence(tmp_path, override, text):
    with pytest.raises(ConfigError, match=text):
        checked(tmp_path, override)
