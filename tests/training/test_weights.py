"""Checkpoints: in which forms they are read, what does not fit, and that they take the place of dense training."""

import argparse
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from sweeps import stage_files, tiny
from torch import nn

from sparsebench import load_config, run_sweep
from sparsebench.errors import ConfigError, ModelError, UnknownNameError
from sparsebench.models import build_model, published_weights
from sparsebench.runner.sequencer import plan_sweep
from sparsebench.training.state_dicts import read_state_dicts
from sparsebench.training.weights import fit_state, load_weights


def resnet(classes=10):
    return build_model("resnet20", classes, (3, 16, 16))


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def with_prefix(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


FORMS = {
    "a state dict": lambda state: state,
    "under state_dict": lambda state: {
        "epoch": 7,
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": [{}]},
    },
    "under model": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1)},
    "of DataParallel": lambda state: with_prefix(state, "module."),
    "of DataParallel under state_dict": lambda state: {"state_dict": with_prefix(state, "module.")},
    "of torch.compile": lambda state: with_prefix(state, "_orig_mod."),
    "with NumPy scalars": lambda state: {"net": state, "best_acc": np.float64(91.2)},
    "in half precision": lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_are_read_in_every_usual_form(tmp_path, form):
    source = resnet().half().float()  # so that half precision loses nothing
    path = tmp_path / "net.pth"
    torch.save(FORMS[form](source.state_dict()), path)
    net = resnet()
    fitted = load_weights(net, str(path), "resnet20", (3, 16, 16), {})
    assert same(net.state_dict(), source.state_dict())
    assert fitted.tensors == len(source.state_dict())
    assert not fitted.fresh


def test_safetensors_are_read(tmp_path):
    source = resnet()
    safetensors.torch.save_model(source, str(tmp_path / "net.safetensors"))
    assert same(read_state_dicts(tmp_path / "net.safetensors")[0].state, source.state_dict())


def test_tensors_saved_on_a_gpu_are_read_without_one(tmp_path, monkeypatch):
    # The file says where each tensor lay; a GPU's name can be written into it where there is none.
    location = torch.serialization.location_tag
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0" if location(storage) else "")
    torch.save({"weight": torch.ones(2)}, tmp_path / "gpu.pth")
    monkeypatch.undo()
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(tmp_path / "gpu.pth", weights_only=True)
    assert read_state_dicts(tmp_path / "gpu.pth")[0].state["weight"].device.type == "cpu"


class Treacherous:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_nothing_in_a_checkpoint_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"weight": torch.ones(2)}, "extra": Treacherous()}, "bad.pth")
    with pytest.raises(ModelError, match=r"'bad.pth' cannot be read: it holds Python objects, which are not unpickled"):
        read_state_dicts(tmp_path.relative_to(tmp_path) / "bad.pth")
    assert not (tmp_path / "pwned").exists()


def test_a_whole_network_that_was_pickled_is_refused_with_the_remedy(tmp_path):
    torch.save(resnet(), tmp_path / "net.pth")
    with pytest.raises(
        ModelError, match=r"Give a file of torch\.save\(network\.state_dict\(\), path\) or of safetensors"
    ):
        read_state_dicts(tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_checkpoint_cannot_be_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}' cannot be read: .+ Give a file of"):
        read_state_dicts(tmp_path / name)


def test_a_checkpoint_cut_short_cannot_be_read(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(resnet().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ModelError, match="cannot be read"):
        read_state_dicts(path)


def test_what_holds_no_state_dict_is_told(tmp_path):
    torch.save({"epoch": 3, "loss": 0.1}, tmp_path / "log.pth")
    with pytest.raises(ModelError, match="holds no state dict but a mapping of epoch, loss; save one with"):
        read_state_dicts(tmp_path / "log.pth")
    with pytest.raises(ModelError, match=r"There is no checkpoint '.*lug.pth'\. Did you mean '.*log.pth'\?"):
        read_state_dicts(tmp_path / "lug.pth")


def test_everything_that_does_not_fit_is_listed_and_nothing_is_loaded():
    net, state = resnet(), resnet().state_dict()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state["extra.weight"] = state.pop("conv1.weight")
    state["bn1.bias"] = torch.zeros(8)
    with pytest.raises(ModelError) as caught:
        fit_state(net, state, "The checkpoint 'x'")
    assert str(caught.value) == (
        "The checkpoint 'x' does not fit ResNetCIFAR:\n"
        "  - 1 of the network's 116 tensors are missing: conv1.weight.\n"
        "  - 1 are not in the network: extra.weight.\n"
        "  - 1 have another shape: bn1.bias (8,), in the network (16,).\n"
        "It is of another network, or of another version of its code; give the checkpoint of this very network."
    )
    assert same(net.state_dict(), before)
    fitted = fit_state(net, state, "The checkpoint 'x'", strict=False)
    assert fitted.fresh == ("conv1.weight", "bn1.bias")
    assert fitted.unexpected == ("extra.weight",)
    assert torch.equal(net.conv1.weight, before["conv1.weight"])
    assert torch.equal(net.linear.weight, state["linear.weight"])


def test_old_checkpoints_without_counts_of_batches_are_complete():
    state = {k: v for k, v in resnet().state_dict().items() if not k.endswith("num_batches_tracked")}
    assert fit_state(resnet(), state, "The checkpoint").fresh == ()


def test_a_checkpoint_of_another_network_is_refused_in_any_case():
    with pytest.raises(
        ModelError, match=r"have nothing in common: the checkpoint has w, the network has conv1\.weight"
    ):
        fit_state(resnet(), {"w": torch.ones(1)}, "The checkpoint 'x'", strict=False)


def test_a_classifier_of_another_size_is_replaced_only_when_asked():
    net, state = resnet(10), resnet(100).state_dict()
    head = net.linear.weight.clone()
    with pytest.raises(
        ModelError, match=r"linear\.weight \(100, 64\), in the network \(10, 64\)(.|\n)*model.new_head = true"
    ):
        fit_state(net, state, "The checkpoint")
    assert fit_state(net, state, "The checkpoint", new_head=True).fresh == ("linear.weight", "linear.bias")
    assert torch.equal(net.linear.weight, head)
    assert torch.equal(net.conv1.weight, state["conv1.weight"])


# -- what libraries publish --------------------------------------------------------------------------------------------


@pytest.fixture
def torchvision_cache(tmp_path, monkeypatch):
    """A cache in which the published weights of SqueezeNet 1.1 lie, made here."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    net = build_model("torchvision:squeezenet1_1", 1000, (3, 64, 64))
    torch.save(net.state_dict(), folder / "squeezenet1_1-b8a52dc0.pth")
    return net


@pytest.mark.parametrize(
    "weights",
    [
        "pretrained",
        "torchvision:DEFAULT",
        "torchvision:IMAGENET1K_V1",
        "torchvision:SqueezeNet1_1_Weights.IMAGENET1K_V1",
    ],
)
def test_weights_of_torchvision_are_loaded_by_their_name(torchvision_cache, weights):
    net = build_model("torchvision:squeezenet1_1", 1000, (3, 64, 64))
    load_weights(net, weights, "torchvision:squeezenet1_1", (3, 64, 64), {})
    assert same(net.state_dict(), torchvision_cache.state_dict())


def test_weights_that_torchvision_does_not_publish_suggest_those_that_it_does(torchvision_cache):
    with pytest.raises(UnknownNameError, match=r"'IMAGENET1K_V7' is not known\. Did you mean 'IMAGENET1K_V1'\?"):
        published_weights("torchvision:squeezenet1_1", "torchvision:IMAGENET1K_V7", (3, 64, 64))
    with pytest.raises(ModelError, match="No weights 'pretrained' are published for model 'resnet20'"):
        published_weights("resnet20", "pretrained", (3, 32, 32))


def test_weights_are_downloaded_with_their_checksum(tmp_path, monkeypatch):
    from torchvision.models import SqueezeNet1_1_Weights
    from torchvision.models._api import Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    net = build_model("torchvision:squeezenet1_1", 1000, (3, 64, 64))
    torch.save(net.state_dict(), tmp_path / "made.pth")
    digest = hashlib.sha256((tmp_path / "made.pth").read_bytes()).hexdigest()[:8]
    published = (tmp_path / "made.pth").rename(tmp_path / f"net-{digest}.pth")
    spoilt = tmp_path / "net-00000000.pth"
    spoilt.write_bytes(published.read_bytes())
    member = SqueezeNet1_1_Weights.IMAGENET1K_V1
    for file in (published, spoilt, tmp_path / "absent-00000000.pth"):
        value = Weights(url=file.as_uri(), transforms=member.value.transforms, meta=member.value.meta)
        monkeypatch.setattr(member, "_value_", value)
        if file is published:
            assert same(published_weights("torchvision:squeezenet1_1", "pretrained", (3, 64, 64)), net.state_dict())
            continue
        with pytest.raises(
            ModelError, match=r"Weights\.DEFAULT could not be downloaded or read: .+ give the path of the file"
        ):
            published_weights("torchvision:squeezenet1_1", "pretrained", (3, 64, 64))


def test_weights_of_timm_are_fitted_to_grey_images_and_keep_their_classifier(tmp_path):
    import timm

    source = timm.create_model("resnet10t")
    safetensors.torch.save_file(source.state_dict(), tmp_path / "resnet10t.safetensors")
    options = {"pretrained_cfg_overlay": {"file": str(tmp_path / "resnet10t.safetensors")}}
    net = build_model("timm:resnet10t", 7, (1, 32, 32), options)
    fitted = load_weights(net, "pretrained", "timm:resnet10t", (1, 32, 32), options, new_head=True)
    assert fitted.fresh == ("fc.weight", "fc.bias")
    assert torch.allclose(net.conv1[0].weight, source.conv1[0].weight.sum(1, keepdim=True), atol=1e-6)
    with pytest.raises(ModelError, match=r"fc\.weight \(1000, 512\), in the network \(7, 512\)"):
        load_weights(net, "pretrained", "timm:resnet10t", (1, 32, 32), options)
    with pytest.raises(ModelError, match=r"timm:resnet10t\.TAG with weights = 'pretrained'"):
        load_weights(net, "timm:c3_in1k", "timm:resnet10t", (1, 32, 32), options)


# -- in a sweep --------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = build_model("small_cnn", 10, (1, 8, 8), {"width": 8})
    torch.save({"state_dict": with_prefix(net.state_dict(), "module.")}, "mine.pth")
    return net


def trains(config):
    return [stage for stage in plan_sweep(config).stages if stage.kind == "train"]


def test_a_checkpoint_takes_the_place_of_dense_training(checkpoint):
    config = tiny("model.weights=mine.pth", "train.dense_control=as_trained", "train.epochs=1", "schemes=fp32")
    run = run_sweep(config, runs_dir="runs")
    dense, sparse = run.trials[0], run.trials[-1]
    assert [trial.status for trial in run.trials] == ["done"] * 2
    assert dense.trained.epochs == 0
    assert dense.trained.history == ()
    assert dense.trained.loaded.source == "mine.pth"
    assert dense.trained.loaded.sha256 == hashlib.sha256(Path("mine.pth").read_bytes()).hexdigest()
    assert dense.trained.loaded.tensors == len(checkpoint.state_dict())
    saved = safetensors.torch.load_file(f"runs/tiny/train/{dense.train.key}/network.safetensors")
    assert same(saved, checkpoint.state_dict())
    assert sparse.ancestors == (dense.train,)
    assert sparse.trained.loaded is None
    assert sparse.trained.epochs == 1
    assert sparse.trained.sparsity == pytest.approx(0.8, abs=0.001)
    before = stage_files("runs/tiny")
    run_sweep(config, runs_dir="runs")
    assert stage_files("runs/tiny") == before, "nothing is left to do"


def test_a_new_classifier_is_trained_with_what_was_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(build_model("small_cnn", 4, (1, 8, 8), {"width": 8}).state_dict(), "four.pth")
    with pytest.raises(
        ConfigError, match=r"model.name = 'small_cnn' on 'digits': The checkpoint 'four.pth' does not fit"
    ):
        run_sweep(tiny("model.weights=four.pth"), runs_dir="runs")
    overrides = ("model.weights=four.pth", "model.new_head=true", "thresholds=0", "schemes=fp32", "train.epochs=1")
    run = run_sweep(tiny(*overrides, "train.dense_control=as_trained"), runs_dir="runs")
    trained = run.trials[0].trained
    assert trained.epochs == 1
    assert trained.loaded.fresh == ("classifier.weight", "classifier.bias")
    assert not trained.loaded.complete


def test_keys_follow_the_content_of_a_checkpoint_and_nothing_else_changes_without_one(checkpoint):
    config = tiny("model.weights=mine.pth")
    first, *others = trains(config)
    assert first.settings["weights"]["source"] == "mine.pth"
    assert all("weights" not in stage.settings for stage in others)
    assert {stage.parent for stage in others} == {first.key}
    torch.save(build_model("small_cnn", 10, (1, 8, 8), {"width": 8}).state_dict(), "mine.pth")
    assert trains(config)[0].key != first.key
    assert all("weights" not in stage.settings for stage in trains(tiny()))


def test_each_seed_may_have_a_checkpoint_of_its_own(checkpoint):
    for seed in (3, 4):
        torch.save(build_model("small_cnn", 10, (1, 8, 8), {"width": 8}).state_dict(), f"mine-{seed}.pth")
    loaded = [stage for stage in trains(tiny("model.weights=mine-{seed}.pth", "seeds=3,4")) if not stage.parent]
    assert {stage.settings["seed"]: stage.settings["weights"]["source"] for stage in loaded} == {
        3: "mine-3.pth",
        4: "mine-4.pth",
    }
    digests = {hashlib.sha256(Path(f"mine-{seed}.pth").read_bytes()).hexdigest() for seed in (3, 4)}
    assert {stage.settings["weights"]["sha256"] for stage in loaded} == digests
    with pytest.raises(ConfigError) as told:
        plan_sweep(tiny("model.weights=mine-{seed}.pth", "seeds=3,4,5,6"))
    assert "model.weights = 'mine-5.pth' cannot be read" in str(told.value)
    assert "model.weights = 'mine-6.pth' cannot be read" in str(told.value), "all at once"
    Path("mine-4.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match=r"The checkpoint 'mine-4\.pth' cannot be read"):
        run_sweep(tiny("model.weights=mine-{seed}.pth", "seeds=3,4"), runs_dir="runs")


def test_where_each_threshold_starts_from_the_one_before_the_first_starts_from_the_checkpoint(checkpoint):
    loaded, sparse = trains(tiny("model.weights=mine.pth", "train.start_from=previous"))
    assert loaded.settings["weights"]
    assert sparse.parent == loaded.key
    loaded, first, second = trains(tiny("model.weights=mine.pth", "train.start_from=previous", "thresholds=0.5,0.8"))
    assert (first.parent, second.parent) == (loaded.key, first.key)


def test_a_checkpoint_that_is_not_there_or_would_not_be_used_is_told(checkpoint):
    with pytest.raises(ConfigError, match=r"model\.weights = 'mine.pt' cannot be read: .*Did you mean 'mine.pth'\?"):
        plan_sweep(tiny("model.weights=mine.pt"))
    with pytest.raises(
        ConfigError, match=r"start_from = 'scratch' leaves the checkpoint in model.weights unused; choose"
    ):
        load_config(None, ["model.weights=mine.pth", "train.start_from=scratch"])
    with pytest.raises(
        ConfigError, match=r"new_head and strict say how a checkpoint is loaded; give its path as weights"
    ):
        load_config(None, ["model.new_head=true"])


def test_an_unreadable_checkpoint_stops_a_run_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match=r"The checkpoint 'bad\.pth' cannot be read"):
        run_sweep(tiny("model.weights=bad.pth"), runs_dir="runs")
    assert not list(tmp_path.glob("runs/tiny/*/*"))


def test_a_network_whose_classes_do_not_fit_the_data_stops_a_run_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sparsebench_five.py").write_text(
        "from torch import nn\n\ndef build(input_shape):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))\n"
    )
    with pytest.raises(ConfigError, match="Sequential has 5 outputs and the data have 10 classes"):
        run_sweep(tiny("model.name=sparsebench_five:build", "model.options={}"), runs_dir="runs")


def test_a_network_is_not_left_in_training_mode_or_changed_by_what_is_refused():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    with pytest.raises(ModelError, match="does not fit Sequential"):
        fit_state(net, {"0.weight": torch.zeros(3, 2)}, "The checkpoint")
    assert bool(net[0].weight.abs().sum() > 0)
