"""Folders and archives of images: their layout, taking them apart safely, decoding them once, and what is wrong."""

import io
import os
import subprocess
import sys
import tarfile
import threading
import zipfile

import numpy as np
import pytest
import torch
from image_files import write_images
from PIL import Image

from sparsebench.data import decoding, fingerprint, load_splits
from sparsebench.data.images import IMAGENET_MEAN, IMAGENET_STD, ImageTensors
from sparsebench.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imagefolder"


def load(path, **options):
    return load_splits(f"imagefolder:{path}", options)


def test_class_folders_alone_are_split_by_fractions_with_classes_in_equal_shares(tmp_path):
    splits = load(write_images(tmp_path / "pets"), val_fraction=0.2, test_fraction=0.3)
    assert splits.samples == {"train": 10, "val": 4, "test": 6}
    assert splits.classes == 2
    assert splits.input_shape == (3, 8, 8)
    assert splits.test.targets.bincount().tolist() == [3, 3]
    rows = torch.cat([split.rows for split in (splits.train, splits.val, splits.test)])
    assert sorted(rows.tolist()) == list(range(20))


def test_images_keep_their_pixels_and_are_normalised(tmp_path):
    splits = load(write_images(tmp_path / "pets"), augment=False, seed=5)
    row = int(splits.test.rows[0])
    file = sorted((tmp_path / "pets").glob("*/*"))[row]
    with Image.open(file) as image:
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    image, label = splits.test[0]
    assert torch.allclose(image, (pixels / 255 - mean) / std, atol=1e-6)
    assert label == ("cat", "dog").index(file.parent.name)


def test_folders_for_the_splits_are_kept(tmp_path):
    for split, samples in (("train", 10), ("validation", 3), ("test", 4)):
        write_images(tmp_path / "data" / split, samples=samples)
    assert load(tmp_path / "data").samples == {"train": 20, "val": 6, "test": 8}


@pytest.mark.parametrize("other", ["test", "val"])
def test_validation_is_held_out_of_training_where_one_other_folder_is_there(tmp_path, other):
    write_images(tmp_path / "data/train")
    write_images(tmp_path / "data" / other, samples=3)
    splits = load(tmp_path / "data", val_fraction=0.2)
    assert splits.samples == {"train": 16, "val": 4, "test": 6}
    assert splits.train.augmentation.padding == 1
    assert splits.val.augmentation is splits.test.augmentation is None


def test_images_of_many_sizes_are_fitted_to_one_when_asked(tmp_path):
    write_images(tmp_path / "pets", samples=6)
    Image.new("RGB", (12, 9)).save(tmp_path / "pets/cat/wide.png")
    with pytest.raises(DataError, match=r"differ in size \(12 of 8 × 8, 1 of 9 × 12\); give the option size"):
        load(tmp_path / "pets")
    assert load(tmp_path / "pets", size=5, val_fraction=0.2).input_shape == (3, 5, 5)
    assert load(tmp_path / "pets", size=5, val_fraction=0.2, channels=1).input_shape == (1, 5, 5)


def test_what_does_not_fit_into_memory_is_decoded_when_it_is_read(tmp_path):
    write_images(tmp_path / "pets", size=(40, 50), suffix=".jpg")
    with pytest.raises(DataError, match="not kept in memory need the option size"):
        load(tmp_path / "pets", in_memory=False)
    splits = load(tmp_path / "pets", in_memory=False, size=16)
    assert not isinstance(splits.train, ImageTensors)
    assert splits.input_shape == (3, 16, 16)
    assert splits.samples == {"train": 14, "val": 2, "test": 4}
    assert torch.equal(splits.val[0][0], splits.val[0][0])
    assert not torch.equal(splits.train[0][0], splits.train[0][0])


def test_many_images_are_decoded_once(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(decoding, "_WORTH_KEEPING", 20)
    folder = write_images(tmp_path / "pets")
    first = load(folder)
    (kept,) = cache.glob("images-*.safetensors")
    monkeypatch.setattr(decoding, "read_image", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(decoding, "look_at", lambda *_: pytest.fail("looked at again"))
    again = load(folder)
    assert torch.equal(again.train.images, first.train.images)
    assert kept.stat().st_size < 20 * 3 * 8 * 8 + 500
    monkeypatch.undo()
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    changed = folder / "cat/000.png"
    Image.new("RGB", (8, 8)).save(changed)
    assert not load(folder).train.images[0].any()


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_archives_are_taken_apart_once(tmp_path, suffix, cache):
    source = write_images(tmp_path / "wrapped" / "pets")
    (source / "cat" / "notes.txt").write_text("no image")
    archive = tmp_path / f"pets{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(source.rglob("*")):
                file.write(path, path.relative_to(tmp_path))
    else:
        with tarfile.open(archive, f"w:{suffix[5:]}" if suffix.count(".") > 1 else "w") as file:
            file.add(tmp_path / "wrapped", "wrapped")
    splits = load(archive)
    assert torch.equal(splits.train.images, load(source).train.images)
    (folder,) = cache.iterdir()
    assert not list(folder.rglob("*.txt"))
    before = folder.stat().st_mtime_ns
    load(archive)
    assert folder.stat().st_mtime_ns == before


def png():
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "png")
    return content.getvalue()


def tar_of(path, name, kind=tarfile.REGTYPE, link=""):
    with tarfile.open(path, "w") as file:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, len(png()) if kind == tarfile.REGTYPE else 0
        file.addfile(member, io.BytesIO(png()))


def zip_of(path, name, mode=0o100644):
    with zipfile.ZipFile(path, "w") as file:
        member = zipfile.ZipInfo("placeholder")
        member.filename, member.external_attr = name, mode << 16
        file.writestr(member, png())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../escaped.png", r"a path with '\.\.'"),
        ("cat/../../escaped.png", r"a path with '\.\.'"),
        ("/escaped.png", "an absolute path"),
        ("..\\escaped.png", r"a path with '\.\.'"),
        ("C:\\escaped.png", "an absolute path"),
    ],
)
@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_an_archive_whose_paths_lead_out_of_it_is_refused_and_nothing_is_written(tmp_path, cache, make, name, reason):
    archive = tmp_path / ("bad.tar" if make is tar_of else "bad.zip")
    make(archive, name)
    with pytest.raises(DataError, match=rf"bad\.(tar|zip) is not safe to take apart and was refused: .*{reason}"):
        load(archive)
    assert not list(cache.rglob("*"))
    assert not list(tmp_path.rglob("escaped.png"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_an_archive_with_links_or_devices_is_refused(tmp_path, kind):
    tar_of(tmp_path / "bad.tar", "cat/a.png", kind, "/etc/passwd")
    with pytest.raises(
        DataError, match=r"refused: 'cat/a\.png' \(a link or a device\)\. Pack it again with plain files"
    ):
        load(tmp_path / "bad.tar")


def test_a_zip_with_links_is_refused(tmp_path):
    zip_of(tmp_path / "bad.zip", "cat/a.png", 0o120777)
    with pytest.raises(DataError, match=r"'cat/a\.png' \(a link or a device\)"):
        load(tmp_path / "bad.zip")


@pytest.mark.parametrize("name", ["bad.zip", "bad.tar", "bad.tar.gz", "bad.tar.xz"])
def test_a_damaged_archive_is_told(tmp_path, name, cache):
    (tmp_path / name).write_bytes(b"this is no archive")
    with pytest.raises(DataError, match=rf"The archive .*{name} cannot be read: "):
        load(tmp_path / name)
    assert not list(cache.iterdir())


def test_an_archive_cut_short_is_told(tmp_path):
    source = write_images(tmp_path / "pets")
    with tarfile.open(tmp_path / "pets.tar.gz", "w:gz") as file:
        file.add(source, "pets")
    whole = (tmp_path / "pets.tar.gz").read_bytes()
    (tmp_path / "pets.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "pets.tar.gz")


def test_all_images_that_cannot_be_decoded_are_named(tmp_path):
    folder = write_images(tmp_path / "pets")
    (folder / "dog/007.png").write_bytes(b"no image")
    whole = (folder / "cat/003.png").read_bytes()
    (folder / "cat/003.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DataError, match=r"2 images cannot be decoded: .*cat/003\.png \(.+\), .*dog/007\.png \(.+\)\. Repl"
    ):
        load(folder)
    with pytest.raises(DataError, match=r"2 images cannot be decoded: .*003\.png \(image file is truncated\)"):
        load(folder, in_memory=False, size=4)


def test_folders_without_images_of_two_classes_are_told(tmp_path):
    with pytest.raises(DataError, match=r"There is no '.*absent'; give the path of a folder or an archive"):
        load(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"neither a folder nor an archive \(\.zip, \.tar, "):
        load(tmp_path / "notes.txt")
    write_images(tmp_path / "one", classes=("cat",))
    with pytest.raises(DataError, match="has 1 class folders; at least 2 are needed"):
        load(tmp_path / "one")
    (tmp_path / "one/dog").mkdir()
    with pytest.raises(DataError, match=r"the class folder .*dog holds no images"):
        load(tmp_path / "one")
    write_images(tmp_path / "odd/test")
    with pytest.raises(DataError, match="has a folder for test and none for train"):
        load(tmp_path / "odd")
    write_images(tmp_path / "odd/train", classes=("cat", "cow"))
    with pytest.raises(DataError, match="test has the classes dog, which train lacks"):
        load(tmp_path / "odd")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"channels": 4}, "channels is 4; give 3 for colour or 1 for grey"),
        ({"mean": [0.5]}, r"mean and std need 3 values, .* found \[0\.5\]"),
        ({"std": [0.5, 0.5, 0]}, "those of std above 0"),
        ({"size": 0}, "size is 0; give the side"),
        (
            {"val_fraction": 0.9, "test_fraction": 0.2},
            "cannot be split by the fractions 0.2, 0.9; each must be above 0",
        ),
        ({"val_fraction": 0.01}, "cannot be split like this"),
        ({"sise": 3}, "It takes size, channels, val_fraction"),
    ],
)
def test_options_that_are_not_allowed_are_told(tmp_path, options, text):
    folder = write_images(tmp_path / "pets")
    with pytest.raises(DataError, match=text):
        load(folder, **options)


def test_a_cache_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with tarfile.open(tmp_path / "pets.tar", "w") as file:
        file.add(write_images(tmp_path / "pets"), "pets")
    with pytest.raises(DataError, match=r"cannot be written to: .+ Choose another folder as cache_dir"):
        load(tmp_path / "pets.tar", cache_dir=str(tmp_path / "file"))


def test_a_fingerprint_changes_with_the_files_and_needs_no_torch(tmp_path):
    folder = write_images(tmp_path / "pets")
    name = f"imagefolder:{folder}"
    first = fingerprint(name, {"size": 8, "cache_dir": "here"})
    assert first == fingerprint(name, {"size": 8})
    assert first["files"][str(folder)]["count"] == 20
    os.utime(folder / "cat/000.png", ns=(0, 0))
    assert fingerprint(name, {"size": 8}) != first
    code = f"from sparsebench.data import fingerprint as f; f({name!r}); import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_an_image_costs_does_not_grow_with_the_number_of_images(tmp_path):
    def calls_per_image(count):
        folder = tmp_path / str(count)
        folder.mkdir()
        files = [folder / f"{index}.png" for index in range(count)]
        for file in files:
            Image.new("RGB", (8, 8)).save(file)
        images, calls = decoding.Images(files, 3, None, tmp_path / "kept"), 0

        def count_call(*_):
            nonlocal calls
            calls += 1

        threading.setprofile(count_call)  # Images are read by threads of their own.
        try:
            images.decode()
        finally:
            threading.setprofile(None)
        return calls / count

    calls_per_image(2)  # What is imported on the way is imported now.
    assert calls_per_image(400) < 1.1 * calls_per_image(50)
