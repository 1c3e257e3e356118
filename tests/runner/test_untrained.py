"""A sweep without training: the checkpoint is the dense network, and is pruned as it is."""

import pytest
import torch
from quick import CLASSES, load, network, quick
from safetensors.torch import load_file
from torch.nn.utils import prune

from sparsebench import load_config, run_sweep
from sparsebench.errors import ConfigError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "dense.pth"
    torch.save(network(CLASSES).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def run(checkpoint, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    config = quick(
        "train.epochs=0", f"model.weights={checkpoint}", "thresholds=0,0.5", "schemes=fp32,static,qat", "name=untrained"
    )
    return run_sweep(config, runs_dir=runs), runs / "untrained"


def weights_of(run, root, threshold):
    key = next(one.trial.train for one in run.trials if one.trial.threshold == threshold)
    return load_file(root / "train" / key / "network.safetensors")


def test_the_checkpoint_is_the_dense_network_and_nothing_is_trained(run, checkpoint):
    found, root = run
    given = torch.load(checkpoint, weights_only=True)
    dense = weights_of(found, root, 0.0)
    assert all(torch.equal(dense[name], value) for name, value in given.items())
    assert {one.trained.epochs for one in found.trials if one.trained} == {0}
    assert next(one for one in found.trials if one.trial.threshold == 0).trial.ancestors == ()


def test_it_is_pruned_as_torch_prunes_the_checkpoint(run, checkpoint):
    found, root = run
    reference = network(CLASSES)
    reference.load_state_dict(torch.load(checkpoint, weights_only=True))
    prune.global_unstructured([(reference[1], "weight")], prune.L1Unstructured, amount=0.5)
    assert torch.equal(weights_of(found, root, 0.5)["1.weight"], reference[1].weight)


def test_its_accuracy_is_that_of_the_pruned_checkpoint(run, checkpoint):
    found, _ = run
    reference = network(CLASSES)
    reference.load_state_dict(torch.load(checkpoint, weights_only=True))
    prune.global_unstructured([(reference[1], "weight")], prune.L1Unstructured, amount=0.5)
    inputs, labels = load()[0][2].tensors
    right = float((reference(inputs).argmax(1) == labels).double().mean())
    own = next(t for t in found.trials if t.trial.threshold == 0.5 and t.trial.scheme == "fp32")
    assert own.evaluated.top1 == pytest.approx(right)


def test_what_would_train_is_not_offered_and_says_why(run):
    found, _ = run
    reasons = {one.trial.scheme: one.trial.not_offered for one in found.trials}
    assert reasons["qat"] == (
        "qat trains the network further, and train.epochs = 0 trains nothing; give it at least 1 epoch."
    )
    assert reasons["static"] is None
    assert {one.status for one in found.trials if not one.trial.not_offered} == {"done"}


def test_channels_are_removed_without_training_too(checkpoint, tmp_path):
    config = quick(
        *("train.epochs=0", f"model.weights={checkpoint}", "thresholds=0,0.5", "schemes=fp32"),
        "pruners=[{name='structured', options={round_to=1}}]",
    )
    pruned = next(one for one in run_sweep(config, runs_dir=tmp_path).trials if one.trial.threshold)
    assert pruned.status == "done", pruned.failed_stage
    assert pruned.trained.structured
    assert pruned.trained.sparsity == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (("train.epochs=0",), "there is no trained network of small_cnn; give its checkpoint as model.weights"),
        (("train.epochs=0", "model.weights=a.pth", "model.new_head=true"), "asks for a classifier that has to be"),
        (("train.epochs=-1",), "train.epochs = -1 is out of range; allowed is 0, which trains nothing, and above."),
    ],
)
def test_a_config_that_trains_nothing_needs_a_whole_network(overrides, text):
    with pytest.raises(ConfigError) as raised:
        load_config(None, overrides)
    assert text in str(raised.value)


def test_all_stands_for_every_name():
    from sparsebench.registry import BACKENDS, SCHEMES

    config = load_config(None, ["schemes=all", "backends=all"])
    assert config.schemes == tuple(SCHEMES)
    assert [backend.name for backend in config.backends] == list(BACKENDS)
