"""Images as people have them: depths, colours, names and folders of all kinds, each read rightly or refused by name."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import write_images
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from sparsebench.data import archives, decoding, fingerprint, load_splits, reading
from sparsebench.data.listing import list_images
from sparsebench.errors import DataError

DEEP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imagefolder"


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / "pets")


def read(folder, name="cat/000.png", **options):
    """What a network sees of one file, with no normalisation: (C, H, W) in [0, 1]."""
    channels = options.setdefault("channels", 1)
    plain = {"mean": [0.0] * channels, "std": [1.0] * channels, "augment": False}
    splits = load_splits(f"imagefolder:{folder}", plain | options)
    place = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*")).index(name)
    for split in (splits.train, splits.val, splits.test):
        if not hasattr(split, "rows"):
            found = [index for index, file in enumerate(split.files) if file == folder / name]
        else:
            found = (split.rows == place).nonzero().flatten().tolist()
        if found:
            return split[found[0]][0]
    return pytest.fail(f"{name} is in no split")


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
@pytest.mark.parametrize("options", [{}, {"in_memory": False, "size": 8}])
def test_16_bit_images_keep_every_grey_value(folder, suffix, options):
    Image.fromarray(DEEP).save(folder / f"cat/000{suffix}")
    if suffix != ".png":
        (folder / "cat/000.png").unlink()
    kept = read(folder, f"cat/000{suffix}", **options)
    if options:  # Its middle, and a little enlarged.
        assert (kept.min(), kept.max()) == (pytest.approx(0, abs=0.02), pytest.approx(0.88, abs=0.02))
        assert len(kept.unique()) == 64
        return
    assert torch.allclose(kept, torch.from_numpy(DEEP / 65535).float()[None], atol=1e-7)
    beside = read(folder, "cat/001.png")
    with Image.open(folder / "cat/001.png") as image:
        grey = np.asarray(image.convert("L")) / 255
    assert torch.allclose(beside, torch.from_numpy(grey).float()[None], atol=1e-7)
    assert read(folder, f"cat/000{suffix}", channels=3).shape == (3, 8, 8)


def test_floats_are_read_in_the_unit_range_and_refused_outside_of_it(folder):
    (folder / "cat/000.png").unlink()
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(folder / "cat/000.tiff")
    assert torch.equal(read(folder, "cat/000.tiff"), torch.from_numpy(values)[None])
    for number, factor in enumerate((-2, 255, np.nan)):
        Image.fromarray(values * np.float32(factor)).save(folder / f"dog/00{number}.tiff")
    Image.fromarray((values * 70000).astype(np.int32)).save(folder / "dog/003.tiff")
    with pytest.raises(DataError, match=r"1 image cannot be decoded: .*dog/003\.tiff \(whole numbers of 32 bits"):
        read(folder)
    (folder / "dog/003.tiff").unlink()
    outside = r"3 images .*000\.tiff \(floats from -2 to .*001\.tiff \(floats from 0 to 255; scale .*002\.tiff"
    with pytest.raises(DataError, match=outside):
        read(folder)


def made(mode):
    colours = Image.fromarray(np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return colours.quantize(16) if mode == "P" else colours.convert("RGB" if mode == "RGBA" else mode)


@pytest.mark.parametrize(("mode", "suffix"), [("1", ".png"), ("P", ".png"), ("P", ".gif"), ("CMYK", ".tiff")])
@pytest.mark.parametrize("channels", [1, 3])
def test_palettes_colours_of_print_and_black_and_white_are_converted(folder, mode, suffix, channels):
    (folder / "cat/000.png").unlink()
    image = made(mode)
    image.save(folder / f"cat/000{suffix}")
    wanted = np.asarray(image.convert("RGB" if channels == 3 else "L")).reshape(8, 8, channels) / 255
    seen = read(folder, f"cat/000{suffix}", channels=channels)
    assert torch.allclose(seen, torch.from_numpy(wanted).permute(2, 0, 1).float(), atol=1e-6)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_left_out(folder, mode):
    grey = np.full((8, 8), 100, dtype=np.uint8)
    bands = [Image.fromarray(grey)] * (len(mode) - 1) + [Image.fromarray(np.zeros_like(grey))]
    Image.merge(mode, bands).save(folder / "cat/000.png")
    assert torch.allclose(read(folder, channels=3), torch.full((3, 8, 8), 100 / 255))


def test_photographs_stand_upright(tmp_path):
    folder = write_images(tmp_path / "pets", size=(6, 8))
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(8, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by a quarter when it was taken.
    image.save(folder / "cat/000.png", exif=exif)
    wanted = np.rot90(np.asarray(image), -1) / 255
    assert torch.allclose(read(folder), torch.from_numpy(wanted.copy()).float()[None])


def test_of_an_animation_the_first_frame_is_read_and_it_is_said_once(folder):
    frames = [Image.new("L", (8, 8), value) for value in (50, 200)]
    (folder / "cat/000.png").unlink()
    frames[0].save(folder / "cat/000.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match=r"1 image of 20 have several frames, .*first is read: .*000\.gif") as said:
        assert torch.allclose(read(folder, "cat/000.gif"), torch.full((1, 8, 8), 50 / 255))
    assert len(said) == 1


def test_all_files_that_are_no_whole_images_are_named_together_and_beyond_ten_counted(folder):
    for number in range(10):
        (folder / f"cat/{number:03}.png").write_bytes(b"")
    whole = (folder / "dog/000.png").read_bytes()
    (folder / "dog/000.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog/001.png").unlink()
    (folder / "dog/001.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(DataError) as told:
        read(folder)
    text = str(told.value)
    assert text.startswith("12 images cannot be decoded: ")
    assert text.count("(an empty file)") == 10
    assert text.endswith(" and 2 more. Replace or remove them.")
    for number in range(10):
        (folder / f"cat/{number:03}.png").write_bytes(whole)
    with pytest.raises(DataError, match=r"2 images .*000\.png \(.*truncated\), .*001\.png \(a link to nothing\)"):
        read(folder)


def test_a_pipe_among_the_images_is_named_and_not_waited_for(folder):
    os.mkfifo(folder / "cat/pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png \(no plain file\)"):
        read(folder)


def test_names_that_are_no_text_are_read_and_can_be_told(folder):
    name = os.fsdecode(b"b\xe4r.png")
    (folder / "cat/000.png").rename(folder / "cat" / name)
    assert len(fingerprint(f"imagefolder:{folder}")["files"][str(folder)]["sha256"]) == 64
    assert read(folder, f"cat/{name}").shape == (1, 8, 8)
    (folder / "cat" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"cat/b\\xe4r\.png \(an empty file\)") as told:
        read(folder)
    str(told.value).encode()


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ("cat", "Cat", "the folders Cat, cat in .* differ in case or accents' form only: join or rename them"),
        ("caf\u00e9", "cafe\u0301", "differ in case or accents' form only"),
        ("train", "Training", r"has several folders for one split \(Training, train\); keep one of each"),
    ],
)
def test_folders_that_could_be_taken_for_one_another_are_refused(tmp_path, first, second, sentence):
    root = write_images(tmp_path / "pets", (first, second, "dog"), samples=2)
    if first == "train":
        for name in (first, second):
            write_images(root / name, ("a", "b"), samples=2)
    with pytest.raises(DataError, match=sentence):
        list_images(root)


def test_a_folder_that_cannot_be_read_is_named_and_not_left_out(folder, monkeypatch):
    (folder / "cat/deeper").mkdir()
    scandir = os.scandir

    def closed(path="."):
        if os.fspath(path).endswith("deeper"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError, match=r"cannot be used: .*cat/deeper \(Permission denied\) cannot be read"):
        list_images(folder)
    monkeypatch.undo()
    monkeypatch.setattr(Path, "iterdir", lambda path: scandir(path / "absent"))
    with pytest.raises(DataError, match=r"The folder .*pets cannot be read: No such file"):
        list_images(folder)


def test_images_too_large_for_the_machine_are_refused_before_they_are_decoded(folder, monkeypatch):
    monkeypatch.setattr(decoding, "read_image", lambda *_: pytest.fail("decoded"))
    Image.new("1", (3000, 3000)).save(folder / "cat/000.png")
    monkeypatch.setattr(decoding, "memory_given", lambda: 2.4e8)
    with pytest.raises(DataError, match=r"000\.png \(3000 × 3000 pixels; at most 5 million are decoded on this mach"):
        read(folder)
    with pytest.raises(DataError, match=r"size = 5000 asks for images of 25 million pixels; at most 5 million"):
        read(folder, size=5000)
    monkeypatch.setattr(decoding, "memory_given", lambda: 2e3)
    monkeypatch.setattr(decoding, "most_pixels", lambda: 1e9)
    with pytest.raises(DataError, match=r"1e-06 GB\)\. Lower size, or set in_memory = false"):
        read(folder, size=8)


def test_a_decompression_bomb_is_named(folder):
    Image.new("1", (20_000, 20_000)).save(folder / "cat/000.png")
    with pytest.raises(DataError, match=r"000\.png \(more than 179 million pixels\)"):
        read(folder)


def test_an_archive_larger_than_the_disk_is_refused_before_it_is_written(tmp_path, monkeypatch, cache):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("cat/a.png", bytes(10_000_000))
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(DataError, match=r"bomb\.zip take more than 0\.0009 GB unpacked, .*Make room there"):
        load_splits(f"imagefolder:{tmp_path / 'bomb.zip'}")
    assert not list(cache.iterdir())


def test_an_archive_is_taken_apart_anew_where_what_came_of_it_was_changed(tmp_path, folder, cache):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as file:
        for path in sorted(folder.rglob("*.png")):
            file.write(path, path.relative_to(folder))
    archive = f"imagefolder:{tmp_path / 'pets.zip'}"
    before = load_splits(archive).samples
    next(cache.rglob("*.png")).unlink()
    assert load_splits(archive).samples == before


FORMS = {
    "fewer images": lambda images: images[1:],
    "no images": lambda images: images.reshape(-1),
    "other channels": lambda images: np.concatenate([images, images], axis=1),
    "other numbers": lambda images: images.astype(np.int64),
    "half a float": lambda images: images.astype(np.float16),
    "beyond white": lambda images: images.astype(np.float32) + 2,
    "no numbers": lambda images: np.full(images.shape, np.nan, np.float32),
}
"""What files hold whose digests are their own, and which no images of these can be."""


def tampered(kept, how):
    images = load_file(kept)
    if how == "another pixel":
        content = bytearray(kept.read_bytes())
        content[-1] ^= 1
        kept.write_bytes(content)
    elif how == "cut off":
        kept.write_bytes(kept.read_bytes()[:-5])
    elif how == "of other files":
        save_file({"images": images["images"][::-1].copy()}, kept, {"made_of": "0" * 64, "sha256": "0" * 64})
    elif how in FORMS:
        with safe_open(kept, framework="np") as file:
            made_of = file.metadata()["made_of"]
        other = np.ascontiguousarray(FORMS[how](images["images"]))
        save_file({"images": other}, kept, {"made_of": made_of, "sha256": decoding._digest_of(other)})
    else:
        kept.write_bytes(b"")


@pytest.mark.parametrize("how", ["another pixel", "cut off", "of other files", "empty", *FORMS])
def test_what_was_decoded_is_checked_before_it_is_used_and_made_anew(folder, monkeypatch, cache, how):
    monkeypatch.setattr(decoding, "_WORTH_KEEPING", 20)
    wanted = read(folder)
    (kept,) = cache.glob("images-*.safetensors")
    good = load_file(kept)["images"].copy()
    tampered(kept, how)
    assert torch.equal(read(folder), wanted)
    assert np.array_equal(load_file(kept)["images"], good)
    monkeypatch.setattr(decoding, "look_at", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(read(folder), wanted)


def test_files_that_are_read_one_by_one_are_looked_through_once(folder, monkeypatch, cache):
    options = {"in_memory": False, "size": 8}
    read(folder, **options)
    monkeypatch.setattr(decoding, "check_whole", lambda *_: pytest.fail("looked through again"))
    read(folder, **options)
    assert reading.check_whole(folder / "cat/000.png") is None
