"""Datasets of torchvision, from small files in the published formats, which are made here."""

import gzip
import hashlib
import pickle
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from image_files import labels, pixels, write_grey
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from sparsebench.data import fingerprint, load_splits
from sparsebench.errors import DataError

GREY = ("mnist", "fashion_mnist", "kmnist")
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
TRAIN, TEST = 60, 20


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def write_cifar(root, monkeypatch, name):
    kind, key = (datasets.CIFAR10, "labels") if name == "cifar10" else (datasets.CIFAR100, "fine_labels")
    classes = 10 if name == "cifar10" else 100
    folder = root / kind.base_folder
    folder.mkdir()
    lists = {}
    for split, samples in (("train_list", 2 * classes), ("test_list", classes)):
        path = folder / split
        path.write_bytes(pickle.dumps({"data": pixels(samples, 3072), key: [int(i) % classes for i in range(samples)]}))
        lists[split] = [[split, md5(path)]]
    meta = folder / kind.meta["filename"]
    meta.write_bytes(pickle.dumps({kind.meta["key"]: [str(i) for i in range(classes)]}))
    for attribute, value in {**lists, "meta": {**kind.meta, "md5": md5(meta)}}.items():
        monkeypatch.setattr(kind, attribute, value)


def write_svhn(root, monkeypatch):
    listed = {}
    for split, samples in (("train", TRAIN), ("test", TEST)):
        path = root / f"{split}.mat"
        # Digits are numbered from 1 to 10 there, where 10 stands for 0.
        numbers = np.where(labels(samples) == 0, 10, labels(samples))
        savemat(path, {"X": pixels(samples, 32, 32, 3).transpose(1, 2, 3, 0), "y": numbers.reshape(-1, 1)})
        listed[split] = ["", path.name, md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)


@pytest.mark.parametrize("name", GREY)
def test_grey_datasets_are_read_and_a_validation_split_is_held_out(tmp_path, name):
    write_grey(tmp_path, FOLDERS[name])
    splits = load_splits(name, {"root": str(tmp_path), "val_fraction": 0.5})
    assert splits.samples == {"train": 30, "val": 30, "test": 20}
    assert splits.input_shape == (1, 28, 28)
    assert splits.classes == 10
    assert splits.val.targets.bincount().tolist() == [3] * 10
    assert not set(splits.train.rows.tolist()) & set(splits.val.rows.tolist())
    assert splits.train.augmentation is not None
    assert splits.val.augmentation is splits.test.augmentation is None
    assert torch.equal(splits.test.images[:, 0], torch.from_numpy(pixels(TEST, 28, 28)))


def test_the_held_out_split_depends_on_the_seed_alone(tmp_path):
    write_grey(tmp_path, "MNIST")
    first, again, other = (
        load_splits("mnist", {"root": str(tmp_path), "val_fraction": 0.5, "seed": seed}).val.rows.tolist()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_grey_images_are_given_three_channels_when_asked(tmp_path):
    write_grey(tmp_path, "MNIST")
    options = {"root": str(tmp_path), "val_fraction": 0.5}
    grey = load_splits("mnist", options)
    colour = load_splits("mnist", options | {"channels": 3})
    assert colour.input_shape == (3, 28, 28)
    assert torch.equal(colour.test[0][0], grey.test[0][0].expand(3, 28, 28))
    with pytest.raises(DataError, match="mnist cannot have channels = 2; give 3, or leave it at 1"):
        load_splits("mnist", options | {"channels": 2})


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_read_with_its_checksums(tmp_path, monkeypatch, name, classes):
    write_cifar(tmp_path, monkeypatch, name)
    splits = load_splits(name, {"root": str(tmp_path), "val_fraction": 0.5})
    assert splits.samples == {"train": classes, "val": classes, "test": classes}
    assert (splits.classes, splits.input_shape) == (classes, (3, 32, 32))
    assert torch.equal(splits.test.images.flatten(1), torch.from_numpy(pixels(classes, 3072)))
    (tmp_path / getattr(datasets, name.upper()).base_folder / "test_list").write_bytes(b"spoilt")
    with pytest.raises(DataError, match=rf"{name} cannot be read from .*Set the option download = true, or give the"):
        load_splits(name, {"root": str(tmp_path), "download": False})


def test_svhn_is_read_with_its_channels_first_and_zero_as_zero(tmp_path, monkeypatch):
    write_svhn(tmp_path, monkeypatch)
    splits = load_splits("svhn", {"root": str(tmp_path), "val_fraction": 0.5})
    assert splits.input_shape == (3, 32, 32)
    assert splits.test.targets.tolist() == labels(TEST).tolist()
    assert torch.equal(splits.test.images, torch.from_numpy(pixels(TEST, 32, 32, 3)).permute(0, 3, 1, 2))
    assert not splits.train.augmentation.flip, "a mirrored number is no number"


def test_imagenet_is_read_from_its_folders(tmp_path):
    names = [f"n{index:08}" for index in range(3)]
    torch.save(({name: (name,) for name in names}, []), tmp_path / "meta.bin")
    for split, samples in (("train", 4), ("val", 2)):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(samples):
                Image.fromarray(pixels(40, 50, 3, seed=index)).save(tmp_path / split / name / f"{index}.JPEG")
    splits = load_splits("imagenet", {"root": str(tmp_path), "size": 32, "val_fraction": 0.25})
    assert splits.samples == {"train": 9, "val": 3, "test": 6}
    assert splits.input_shape == (3, 32, 32)
    assert sorted(splits.val.targets) == [0, 1, 2]
    assert torch.equal(splits.val[0][0], splits.val[0][0]), "no chance in evaluation"


def test_files_that_are_not_there_and_cannot_be_downloaded_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", [(tmp_path / "nowhere").as_uri() + "/"])
    with pytest.raises(
        DataError, match=r"mnist could not be downloaded to '.*': .+ Download it where there is a network"
    ):
        load_splits("mnist", {"root": str(tmp_path / "data")})
    with pytest.raises(DataError, match=r"mnist cannot be read from '.*': Dataset not found\. .*download = true"):
        load_splits("mnist", {"root": str(tmp_path / "data"), "download": False})
    with pytest.raises(
        DataError, match=r"imagenet cannot be read from '.*': .+ Give the folder that holds it as option"
    ):
        load_splits("imagenet", {"root": str(tmp_path / "data")})


@pytest.fixture
def mirror(tmp_path):
    """A folder and the address under which its files are served."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_files_are_downloaded_with_their_checksums(tmp_path, monkeypatch, capsys, mirror):
    write_grey(tmp_path / "made", "MNIST")
    (mirror, address), resources = mirror, []
    for path in sorted((tmp_path / "made/MNIST/raw").iterdir()):
        packed = mirror / f"{path.name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        resources.append((packed.name, md5(packed)))
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    splits = load_splits("mnist", {"root": str(tmp_path / "data"), "val_fraction": 0.5})
    assert splits.samples == {"train": 30, "val": 30, "test": 20}
    assert capsys.readouterr().out == "", "progress does not belong among the results"
    monkeypatch.setattr(datasets.MNIST, "resources", [(name, "0" * 32) for name, _ in resources])
    with pytest.raises(DataError, match="could not be downloaded"):
        load_splits("mnist", {"root": str(tmp_path / "other")})


def test_where_a_dataset_lies_is_no_part_of_its_fingerprint(tmp_path):
    elsewhere = fingerprint("mnist", {"root": str(tmp_path), "download": False, "seed": 3})
    assert elsewhere == fingerprint("mnist", {"seed": 3})
    assert elsewhere["options"] == {"seed": 3}
