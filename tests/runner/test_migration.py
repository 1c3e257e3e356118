"""What people bring from elsewhere: samples in dictionaries, factories that say classes, trainers of their own."""

import sys
import textwrap

import pytest
import torch
from sweeps import sparsebench, tiny
from torch import nn

from sparsebench import run_sweep
from sparsebench.data import load_collate
from sparsebench.errors import ConfigError, DataError
from sparsebench.models import build_model

OWN = """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Dataset
    from sparsebench import Trainer


    class Rows(Dataset):
        def __init__(self, seed):
            dice = torch.Generator().manual_seed(seed)
            self.labels = torch.randint(0, 3, (120,), generator=dice)
            self.rows = nn.functional.one_hot(self.labels, 6) + 0.2 * torch.randn(120, 6, generator=dice)

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            return {"row": self.rows[index], "target": int(self.labels[index])}


    def rows():
        return [Rows(0), Rows(1), Rows(2)], 3


    def pair(samples, key="input", scale=1.0):
        inputs = torch.stack([sample[key] for sample in samples])
        return scale * inputs, torch.tensor([sample["target"] for sample in samples])


    def perceptron(classes, hidden=8):
        return nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, classes))


    class Bare:
        def __init__(self, pruning=False, ddtype=torch.float, datasets=None, models_path=None, cuda="cuda:0"):
            self.datasets, self.dataloader = datasets, None

        def load_dataloaders(self, batch_size, collate_fn):
            self.dataloader = {"train": [], "val": DataLoader(self.datasets[1])}

        def train(self, net, parameters, name, epochs, reload, old_net):
            return net

        def evaluate(self, net, quant_mode):
            return 0.5, net


    class Breaks(Trainer):
        def load_dataloaders(self, batch_size, collate_fn):
            return self.settings["workers"]
"""


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    (tmp_path / "brought.py").write_text(textwrap.dedent(OWN))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("brought", None)


def brought(*overrides):
    return tiny(
        *("model.name=brought:perceptron", "model.options={}", "data.name=brought:rows", "train.learning_rate=0.05"),
        *("train.epochs=4", "train.batch_size=20", *overrides),
    )


def test_samples_that_are_dictionaries_go_through_a_sweep_by_a_collate_function_with_options(tmp_path):
    collate = "data.collate={name='brought:pair', options={key='row', scale=2.0}}"
    run = run_sweep(brought(collate), runs_dir=tmp_path)
    assert {trial.status for trial in run.trials} == {"done"}
    assert (run.frame()["top1"] >= 0.9).all()


def test_a_collate_function_is_called_with_its_options_in_whatever_form_a_config_has_it():
    samples = [{"row": torch.ones(6), "target": 1}]
    table = {"name": "brought:pair", "options": {"key": "row", "scale": 3.0}}
    inputs, labels = load_collate(table)(samples)
    assert inputs.tolist() == [[3.0] * 6]
    assert labels.tolist() == [1]
    assert load_collate("brought:pair").__name__ == "pair"
    assert load_collate(None) is None
    with pytest.raises(DataError, match=r"these options: got an unexpected keyword .* takes samples, key, scale\."):
        load_collate({"name": "brought:pair", "options": {"kay": 1}})


def test_a_collate_function_of_unknown_options_is_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="unexpected keyword argument 'kay'"):
        run_sweep(brought("data.collate={name='brought:pair', options={kay='row'}}"), runs_dir=tmp_path)


def test_options_make_another_run_and_none_are_the_name_alone():
    plain, table, other = (
        brought(f"data.collate={value}").data[0].model_dump(mode="json")["collate"]
        for value in ("brought:pair", "{name='brought:pair'}", "{name='brought:pair', options={scale=2.0}}")
    )
    assert plain == table == "brought:pair"
    assert other == {"name": "brought:pair", "options": {"scale": 2.0}}


def test_a_factory_that_says_classes_gets_their_number():
    assert build_model("brought:perceptron", 3, (6,))[2].out_features == 3
    assert build_model("brought:perceptron", 3, (6,), {"classes": 5})[2].out_features == 5
    assert isinstance(build_model("small_cnn", 3, (1, 8, 8)), nn.Module)


def test_check_trainer_builds_one_on_eight_samples_and_names_every_fault(tmp_path):
    done = sparsebench("check-trainer", "brought:Bare", cwd=tmp_path)
    assert done.returncode == 2
    assert "__init__ does not set dtype, devicy, datasizes, pruning, models_path, criterion." in done.stderr
    assert "does not leave a dictionary dataloader with 'train', 'val' and 'test'." in done.stderr
    done = sparsebench("check-trainer", "brought:Breaks", cwd=tmp_path)
    assert "Trainer 'brought:Breaks' raised an error:\n    AttributeError: 'Breaks' object has no" in done.stderr
