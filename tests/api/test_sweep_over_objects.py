"""Sweeps over the objects that people have, from modules, scripts and what is typed."""

import inspect

import forked
import pytest
import quick
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader

from sparsebench import SweepConfig, Trainer, load_config, load_run, run_search, run_sweep, sweep
from sparsebench.api.asked import asked
from sparsebench.data.digits import digits as load_digits
from sparsebench.errors import ConfigError, SparsebenchError
from sparsebench.models.resnet_cifar import resnet20
from sparsebench.runner.sequencer import plan_sweep
from sparsebench.runner.watcher import Watcher

KEYS = {
    "name": "quick",
    "seeds": [0],
    "thresholds": [0, 0.8],
    "schemes": ["fp32", "static"],
    "epochs": 1,
    "train": {"batch_size": 16},
    "measure": {"batch_sizes": []},
}
TOML = """name = "quick"
seeds = [0]
thresholds = [0, 0.8]
schemes = ["fp32", "static"]
model.name = "quick:network"
data.name = "quick:load"
train.epochs = 1
train.batch_size = 16
measure.batch_sizes = []
"""
"""The same keys, and the network and data, as a config has them."""

SPLITS, _ = quick.load()


def built():
    return quick.network(quick.CLASSES)


def trained():
    torch.manual_seed(11)
    return built().train()


def quickly(network, data, tmp_path, **keys):
    return sweep(network, data, **{**KEYS, "runs_dir": tmp_path, "progress": False, **keys})


def keys_of(run):
    return {record.key for trial in run.trials for record in trial.records}


# -- names, and what can be imported by one ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "data"),
    [("quick:network", "quick:load"), (quick.network, quick.load), ({"name": "quick:network"}, {"name": "quick:load"})],
)
def test_what_can_be_imported_gives_the_config_and_the_keys_of_the_same_names(network, data, tmp_path):
    (tmp_path / "quick.toml").write_text(TOML)
    in_toml = load_config(tmp_path / "quick.toml")
    by_set = load_config({}, TOML.replace(" = ", "=").splitlines())
    found = asked(network, data, KEYS).config
    assert found == in_toml == by_set
    assert plan_sweep(found) == plan_sweep(in_toml)


def test_records_are_those_of_the_same_config_in_toml(tmp_path):
    run = quickly(quick.network, quick.load, tmp_path)
    again = run_sweep(load_config({}, TOML.replace(" = ", "=").splitlines()), runs_dir=tmp_path, progress=False)
    assert again.trials == run.trials


def test_a_trainer_is_a_class_its_instance_or_a_name():
    found = {
        asked(built, quick.load, {**KEYS, "trainer": one}).config.train.trainer
        for one in (quick.Drifting, quick.Drifting(datasets=SPLITS), "quick:Drifting")
    }
    assert found == {"quick:Drifting"}


def test_what_has_a_name_in_a_registry_goes_by_it():
    config = asked(resnet20, load_digits, {"trainer": Trainer}).config
    assert (config.model[0].name, config.data[0].name, config.train.trainer) == ("resnet20", "digits", "default")
    config = asked(torchvision.models.resnet18, "digits", {}).config
    assert config.model[0].name == "torchvision:resnet18"


def test_every_key_of_a_config_is_a_keyword_of_its_name():
    taken = set(inspect.signature(sweep).parameters)
    assert set(SweepConfig.model_fields) - {"search"} <= taken
    assert "search" in inspect.signature(run_search).parameters
    assert not taken & {"network_options", "data_options"}


def test_unknown_keywords_are_answered_as_in_a_config():
    with pytest.raises(ConfigError, match=r"treshold is no key of the top level. Did you mean 'thresholds'"):
        asked("resnet20", "digits", {"treshold": [0]})


# -- objects -----------------------------------------------------------------------------------------------------------


class Counting(Watcher):
    def __init__(self):
        self.ran = []

    def started(self, stage):
        self.ran.append(stage.kind)


def test_a_trained_network_is_the_dense_one_and_stays_as_it_is(tmp_path):
    network = trained()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    run = quickly(network, SPLITS, tmp_path, epochs=None)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    dense = run.network("dense fp32")
    inputs = SPLITS[2].tensors[0]
    assert torch.equal(dense(inputs), network.eval()(inputs))
    assert {trial.trained.epochs for trial in run.trials} == {0}
    assert "Nothing is trained: networks are pruned as they are." in run.notes[0]
    assert {trial.trial.seed for trial in run.trials} == {0}


def test_with_epochs_it_is_what_training_starts_from(tmp_path):
    run = quickly(trained(), SPLITS, tmp_path, schemes="fp32", train={"batch_size": 16, "dense_control": "as_trained"})
    dense, pruned = run.trials
    assert (dense.trained.epochs, pruned.trained.epochs) == (0, 1)
    assert pruned.trial.ancestors == (dense.trial.train,)


def test_the_same_objects_go_on_where_they_were_and_others_do_not(tmp_path):
    def stages(network, data):
        watcher = Counting()
        config = asked(network, data, {**KEYS, "epochs": None, "thresholds": [0], "schemes": "fp32"}).config
        run_sweep(config, runs_dir=tmp_path, watcher=watcher)
        return watcher.ran

    assert stages(trained(), SPLITS)
    assert stages(trained(), quick.load()[0]) == []
    other = trained()
    with torch.no_grad():
        other[1].bias += 0.01
    assert stages(other, SPLITS)


def test_what_cannot_start_afresh_is_not_trained_from_scratch():
    with pytest.raises(SparsebenchError, match="a network object is the dense one; give the class or function"):
        asked(trained(), SPLITS, {"train": {"start_from": "scratch"}, "epochs": 1})


def closeness(outputs, targets):
    return outputs.softmax(1).gather(1, targets[:, None]).flatten()


closeness.higher_is_better = True


def test_networks_are_judged_by_a_metric_by_its_name_or_by_a_function(tmp_path):
    named = asked("resnet20", "digits", {"metric": "f1"}).config
    assert named.metric.name == load_config({"metric": {"name": "f1"}}).metric.name
    found = asked("resnet20", "digits", {"metric": closeness}).config.metric.name
    assert found.endswith(":closeness") or found.startswith("live:closeness@")
    run = quickly(trained(), SPLITS, tmp_path, epochs=None, metric=lambda_of(), schemes="fp32", thresholds=[0])
    assert [(trial.evaluated.value, trial.evaluated.scale.higher_is_better) for trial in run.trials] == [(0.25, True)]
    assert run.trials[0].evaluated.scale.metric == "lambda"
    with pytest.raises(SparsebenchError, match="The metric is int; give its name, or a function"):
        asked("resnet20", "digits", {"metric": 3})


def lambda_of():
    quarter = lambda outputs, targets: torch.full((len(targets),), 0.25)  # noqa: E731
    quarter.higher_is_better = True
    return quarter


def test_loaders_and_lambdas_run_as_they_are(tmp_path):
    loaders = [DataLoader(split, batch_size=16) for split in SPLITS]
    run = quickly(lambda num_classes: quick.network(num_classes), loaders, tmp_path, train=None, schemes="fp32")
    assert {trial.status for trial in run.trials} == {"done"}
    assert run.record.config["train"]["batch_size"] == 16
    assert run.trials[0].trial.model.startswith("live:lambda@")


def test_small_data_lower_the_batch_size_and_say_so():
    config, notes = asked("resnet20", SPLITS, {"train": {"epochs": 1}})
    assert config.train.batch_size == 64
    config, notes = asked("resnet20", (SPLITS[2].tensors, SPLITS[1], SPLITS[2]), {"train": {"epochs": 1}})
    assert config.train.batch_size == 48
    assert notes == ("train.batch_size = 48, for the training split has no more samples.",)


def test_what_is_no_network_is_answered_with_what_is():
    with pytest.raises(SparsebenchError, match=r"The network is a int; give a trained nn.Module, a class or function"):
        asked(3, "digits", {})


def test_a_network_that_cannot_be_copied_says_why():
    network = trained()
    network.cache = network(SPLITS[2].tensors[0][:2])
    with pytest.raises(SparsebenchError, match=r"Sequential cannot be copied: RuntimeError: .* Keep nothing in it"):
        asked(network, SPLITS, {})


# -- a run without its objects -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    return sweep(trained(), SPLITS, **{**KEYS, "epochs": None, "runs_dir": folder / "runs", "progress": False}), folder


def command(folder, *arguments):
    return forked.run(["-m", "sparsebench", *arguments], folder)


def test_commands_that_read_records_need_no_objects(finished):
    _, folder = finished
    assert command(folder, "report", "quick").returncode == 0
    assert "PICKED" in (said := command(folder, "pick", "quick")).stdout or said.returncode in (0, 1)
    assert command(folder, "compare", "quick", "quick").returncode == 0


def test_commands_that_need_the_network_say_where_it_is(finished):
    _, folder = finished
    said = command(folder, "export", "quick", "dense fp32", "--to", "pt2", "-o", "net.pt2")
    assert said.returncode == 2
    assert "is the object 'Sequential' of the Python session that made this run" in said.stderr
    assert "run.export(...)" in said.stderr


def test_a_run_that_is_read_back_exports_where_its_objects_are_at_hand(finished, tmp_path):
    run, _ = finished
    done = load_run(run.root).export("dense fp32", out=tmp_path / "net.pt2")
    assert torch.export.load(done.path).module()(SPLITS[2].tensors[0]).shape == (48, 3)


# -- scripts and what is typed -----------------------------------------------------------------------------------------

SCRIPT = """
import sys
import torch
from torch import nn
import sparsebench

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, num_classes))

    def forward(self, x):
        return self.body(x)

class Pairs(torch.utils.data.Dataset):
    def __init__(self, samples):
        generator = torch.Generator().manual_seed(samples)
        self.labels = torch.arange(samples) % 3
        self.images = torch.randn(samples, 1, 4, 4, generator=generator) + self.labels[:, None, None, None]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, place):
        return self.images[place], int(self.labels[place])

class Mine(sparsebench.Trainer):
    def training_step(self, model, inputs, labels):
        return super().training_step(model, inputs, labels) * 2

run = sparsebench.sweep(
    Net, (Pairs(64), Pairs(32), Pairs(48)), trainer=Mine, epochs=1, seeds=[0], thresholds=[0, 0.5], schemes=["fp32"],
    train={"batch_size": 16}, name="script", **ARGUMENTS,
)
print([trial.status for trial in run.trials], run.trials[0].trial.model, len(run.trials[0].measure))
"""


IN_IPYTHON = """
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance().run_cell({cell!r}).raise_error()
"""


@pytest.mark.parametrize("start", ["script", "typed", "ipython"])
def test_classes_of_a_script_without_a_guard_reach_worker_and_timing_processes(start, tmp_path):
    # Once is enough for timing, which starts six processes.
    timed = {"batch_sizes": [1] if start == "script" else [], "seconds_cap": 1, "band": 0.3, "precision": 0.3}
    arguments = {"jobs": 2, "measure": timed}
    source = f"ARGUMENTS = {arguments}\n{SCRIPT}"
    if start == "script":
        (tmp_path / "mine.py").write_text(source)
        said = forked.run(["-m", "mine"], tmp_path)
    elif start == "typed":
        said = forked.run(["-c", source], tmp_path)
    else:
        pytest.importorskip("IPython")
        said = forked.run(["-c", IN_IPYTHON.format(cell=source)], tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("['done', 'done'] live:Net@")
    assert said.stdout.rstrip().endswith(f" {len(timed['batch_sizes'])}")
    assert "[1/" in said.stderr


def test_an_object_that_no_process_can_be_sent_is_named(tmp_path):
    class Held(nn.Module):
        def __init__(self, num_classes=3):
            super().__init__()
            self.layer = nn.Linear(16, num_classes)

        def forward(self, x):
            return self.layer(x.flatten(1))

        def __reduce__(self):
            raise TypeError("it stays here")

        def __deepcopy__(self, memo):
            return self

    network = Held()
    network.version = "1"
    with pytest.raises(
        SparsebenchError, match=r"one of Held@\w+, .* cannot be sent to them: TypeError: it stays here.* jobs=1"
    ):
        quickly(network, SPLITS, tmp_path, epochs=None, jobs=2)
