"""``sparsebench init``: a config for what lies in a folder, which a dry run accepts as it stands."""

import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import write_images
from typer.testing import CliRunner

from sparsebench import load_config
from sparsebench.cli.app import app
from sparsebench.cli.init.checkpoints import recognise
from sparsebench.cli.init.code import read_code
from sparsebench.errors import SparsebenchError
from sparsebench.models import build_model

NETWORKS = """
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()

class Net(nn.Module):
    def __init__(self, num_classes, input_shape, width=8):
        super().__init__()
        self.block = Block(width)

def build(num_classes, input_shape):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes))
    return net

def helper(path):
    return open(path).read()

raise SystemExit("nobody ran this")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


def begun():
    """What ``init`` says, and the config that it wrote."""
    done = invoke("init")
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout, tomllib.loads(read())


def read():
    return Path("sparsebench.toml").read_text(encoding="utf-8")


def is_accepted():
    """Whether a dry run takes the config as it stands: one batch goes the whole way."""
    done = invoke("run", "sparsebench.toml", "--dry-run")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "Takes about " in done.stdout
    return True


def test_images_in_a_folder_for_each_class_are_found_and_fitted(folder):
    write_images(folder / "photos", classes=("birds", "cats", "dogs"), samples=20, size=(150, 120))
    said, config = begun()
    assert "photos: 60 images of 3 classes (birds, cats, dogs)" in said
    assert "photos: images of 120 × 150 are fitted to 64 × 64 (size)" in said
    assert config["data"] == {
        "name": "imagefolder:photos",
        "options": {"size": 64, "test_fraction": 0.25, "val_fraction": 0.25},
    }
    assert config["model"]["name"] == "small_cnn"
    assert is_accepted()


@pytest.mark.parametrize(
    ("arrays", "shape", "model", "options"),
    [
        ({"x": (300, 12), "y": 300}, "12", "mlp", {}),
        ({"x": (300, 6, 4), "y": 300}, "6×4", "gru_classifier", {}),
        ({"images": (300, 8, 8), "labels": 300}, "8×8", "small_cnn", {"layout": "hw"}),
        ({"x_train": (300, 8, 8, 3), "y_train": 300, "x_test": (60, 8, 8, 3), "y_test": 60}, "8×8×3", "small_cnn",
         {"layout": "hwc"}),
    ],
    ids=["vectors", "sequences", "grey images", "images with channels last"],
)  # fmt: skip
def test_arrays_are_found_and_get_a_network_that_takes_them(folder, arrays, shape, model, options):
    draw = np.random.default_rng(0)
    values = {
        name: draw.integers(0, 3, size) if isinstance(size, int) else draw.random(size, dtype=np.float32)
        for name, size in arrays.items()
    }
    np.savez(folder / "samples.npz", **values)
    said, config = begun()
    assert f"samples.npz: 300 samples of shape {shape}" in said
    assert config["data"]["name"] == "npz:samples.npz"
    assert config["data"].get("options", {}) == options
    assert config["model"]["name"] == model
    assert is_accepted()


def test_a_function_that_makes_a_network_is_found_without_being_run(folder):
    (folder / "begun_networks.py").write_text(NETWORKS)
    said, config = begun()
    assert config["model"] == {"name": "begun_networks:build"}
    assert "begun_networks:build: makes a network" in said
    assert "The network is begun_networks:build, the first of 2; the others are begun_networks:Net." in said
    assert "The data are scikit-learn's digits" in said
    (folder / "begun_networks.py").write_text(NETWORKS.replace('raise SystemExit("nobody ran this")', ""))
    assert is_accepted()


def test_what_python_files_define_is_told_from_its_source(folder):
    (folder / "mine").mkdir()
    (folder / "mine/parts.py").write_text(
        "class MyTrainer(Trainer):\n    def net(self):\n        return Small()\n"
        "class Small(nn.Module): ...\n"
        "def load(root='here'):\n    return [a, b, c], 10\n"
        "def other():\n    return 1, 2\n"
        "class Wide(nn.Module):\n    def __init__(self, width): ...\n"
    )
    (folder / "test_mine.py").write_text(NETWORKS)
    (folder / "broken.py").write_text("def (")
    found = read_code(folder)
    assert found.trainers == ["mine.parts:MyTrainer"]
    assert found.data == ["mine.parts:load"]
    assert found.networks == ["mine.parts:Small"]
    assert found.asking == {"mine.parts:Wide": ["width"]}


def test_a_checkpoint_is_recognised_by_the_network_that_takes_its_weights(folder):
    torch.save({"model": build_model("small_cnn", 10, (1, 8, 8)).state_dict()}, folder / "dense.pth")
    said, config = begun()
    assert config["model"] == {"name": "small_cnn", "weights": "dense.pth"}
    assert "dense.pth holds weights of small_cnn, which has the same shapes." in said
    assert is_accepted()


def test_a_checkpoint_for_other_classes_gets_a_new_classifier(folder):
    torch.save(build_model("resnet8", 10, (3, 32, 32)).state_dict(), folder / "dense.pt")
    found = recognise(folder / "dense.pt", (3, 32, 32), 4)
    assert (found.model, found.new_head) == ("resnet8", True)


def test_a_checkpoint_of_an_unknown_network_is_left_out_with_a_word(folder):
    torch.save({"weight": torch.zeros(7, 7)}, folder / "odd.pth")
    said, config = begun()
    assert "odd.pth is left out: no network by name has its weights." in said
    assert "weights" not in config["model"]


def test_in_an_empty_folder_it_says_what_it_knows_and_takes_digits(folder):
    said, config = begun()
    assert "nothing that it knows: no images in a folder for each class" in said
    assert (config["model"]["name"], config["data"]["name"]) == ("small_cnn", "digits")
    assert said.splitlines()[-1].strip() == "sparsebench run sparsebench.toml --dry-run"
    load_config("sparsebench.toml")


def test_folders_of_images_beside_everything_else_are_not_named_but_told_of(folder):
    write_images(folder, classes=("cats", "dogs"))
    said, _ = begun()
    assert "cats, dogs hold images: move them into one folder, such as photos, and run init again" in said


def test_nothing_is_overwritten(folder):
    (folder / "sparsebench.toml").write_text("mine")
    done = invoke("init")
    assert isinstance(done.exception, SparsebenchError)
    assert str(done.exception) == (
        "sparsebench.toml is there already, and nothing is overwritten. Give another file with --output, or move it "
        "away."
    )
    assert read() == "mine"
    assert invoke("init", "--output", "other.toml").exit_code == 0
    shutil.move("other.toml", "sparsebench.toml")
    load_config("sparsebench.toml")
    assert isinstance(invoke("init", "-o", "nowhere/a.toml").exception, SparsebenchError)


def test_every_line_of_the_config_that_can_be_changed_is_explained(folder):
    begun()
    explained = [line for line in read().splitlines() if "=" in line and "#" in line]
    assert len(explained) >= 7
    assert read().startswith("# Written by 'sparsebench init'")
