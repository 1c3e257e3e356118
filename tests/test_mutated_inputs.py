"""Inputs changed at random, 350 of them by default: each is refused by a sentence, or means what stands there.

None of them runs anything or writes a file. ``SPARSEBENCH_FUZZ=20`` tries twenty times as many.
"""

import copy
import math
import os
import random
import warnings
from contextlib import suppress

import numpy as np
import pytest
from image_files import write_images
from PIL import Image
from witness import nothing_done

from sparsebench.config import SweepConfig, default_toml, load_config
from sparsebench.config.sections import Section
from sparsebench.data import load_splits
from sparsebench.data.listing import is_image, list_images
from sparsebench.errors import DataError, SparsebenchError
from sparsebench.wording.text import flat

TIMES = int(os.environ.get("SPARSEBENCH_FUZZ", "1"))
CONFIGS, SEVERAL, OVERRIDES, FILES, IMAGES, FOLDERS = (range(count * TIMES) for count in (110, 50, 80, 20, 60, 30))

VALUES = (
    *(
        None,
        True,
        False,
        "",
        " ",
        "x",
        "0,5",
        "1e3",
        "0x10",
        "\ud800",
        "nan",
        "inf",
        "-1",
        "1",
        "0.5",
        "default",
        "cpu",
    ),
    *(-1, 0, 1, 2, 3.0, 0.5, 1.5, 2**31, 2**64, 10**400, -0.0, 1e308, math.nan, math.inf, -math.inf),
    *("$(touch ran)", "`touch ran`", "__import__('os').system('touch ran')", "../../ran", "os:system", "1_000", "0b11"),
    *("1979-05-27T07:32:00Z", "\x00", "\u202e", "\x1b[2J", "=1+1", "[[[[", "{a = 1}", "'''", "a" * 10_000, "9" * 5000),
    *([], {}, [None], [True], [0.5, "0.5"], [[0.5]], {"name": 3}, {"name": "x"}, {"options": []}, ["fp32", "fp32"]),
)


def keys_of(kind, prefix=""):
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from keys_of(field.annotation, f"{prefix}{name}.")
        yield f"{prefix}{name}"


KEYS = [*keys_of(SweepConfig), "model.name", "model.options", "data.name", "data.collate", "nonsense", "train.epoch"]


def placed(key, value):
    *sections, name = key.split(".")
    config = target = {}
    for section in sections:
        target = target.setdefault(section, {})
    target[name] = value
    return config


def numbers_in(value):
    """All numbers that stand in a value, also as text; true and false are not among them."""
    if isinstance(value, str):
        for part in value.strip("[]'\"").split(","):
            with suppress(ValueError):
                yield int(part.strip(" '\""), 0)
            with suppress(ValueError):
                yield float(part.strip(" '\""))
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def check(read, key, given):
    """Read a config: what is refused is a sentence, and a number that is taken is the one that was given."""
    try:
        with nothing_done():
            config = read()
    except SparsebenchError as error:
        text = str(error)
    else:
        text = ""
    text.encode()
    assert "Input should" not in text, text
    if text:
        assert any(part in text for part in key.split(".")), text
        return
    before, after = (dict(flat(one.model_dump(mode="json"))) for one in (load_config(), config))
    usual = dict(flat(SweepConfig().model_dump(mode="json")))
    for name, value in after.items():
        if isinstance(value, str) or value in (before.get(name), usual.get(name)):
            continue
        wrong = [number for number in numbers_in(value) if number not in [*numbers_in(given)]]
        assert not wrong, f"{name} is {value!r} where {key} = {given!r} was given"


@pytest.mark.parametrize("part", range(2))
def test_a_config_with_a_strange_value_is_refused_or_means_what_it_says(part):
    for seed in CONFIGS[part::2]:
        dice = random.Random(seed)
        key, value = dice.choice(KEYS), dice.choice(VALUES)
        check(lambda: load_config(placed(key, value)), key, value)  # noqa: B023 - called at once


def merged(config, other):
    for key, value in other.items():
        inner = config.get(key)
        config[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return config


def test_a_config_with_several_strange_values_is_refused_or_means_what_it_says():
    for seed in SEVERAL:
        dice, config = random.Random(seed), {}
        given = [(dice.choice(KEYS), dice.choice(VALUES)) for _ in range(dice.randrange(2, 5))]
        for key, value in given:
            config = merged(config, placed(key, copy.deepcopy(value)))
        keys, values = zip(*given, strict=True)
        check(lambda: load_config(config), ".".join(keys), list(values))  # noqa: B023 - called at once


def test_a_strange_override_is_refused_or_means_what_it_says():
    for seed in OVERRIDES:
        dice = random.Random(seed)
        key, value = dice.choice(KEYS), dice.choice(VALUES)
        text = dice.choice([str(value), repr(value), str(value).lower()]) if value != 10**400 else "1" + "0" * 400
        cut = dice.randrange(len(key) + 1) if dice.random() < 0.2 else len(key)
        override = f"{key[:cut]}={text}" if dice.random() < 0.9 else key[:cut]
        check(lambda: load_config(None, [override]), key[:cut], text)  # noqa: B023 - called at once


def changed(content, dice):
    """Bytes with some of them changed, taken out or put in, or cut off."""
    made = bytearray(content)
    for _ in range(dice.choice([1, 2, 8])):
        place = dice.randrange(len(made) or 1)
        match dice.randrange(4):
            case 0 if made:
                made[place] = dice.randrange(256)
            case 1:
                del made[place : place + dice.randrange(1, 9)]
            case 2:
                made[place:place] = dice.randbytes(dice.randrange(1, 9))
            case _ if dice.random() < 0.3:
                del made[place:]
    return bytes(made)


def test_a_config_file_with_changed_bytes_is_refused_or_read(tmp_path):
    whole = default_toml().encode()
    for seed in FILES:
        (tmp_path / "some.toml").write_bytes(changed(whole, random.Random(seed)))
        try:
            with nothing_done():
                load_config(tmp_path / "some.toml")
        except SparsebenchError as error:
            text = str(error)
        else:
            text = "some.toml"
        assert "some.toml" in text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    return write_images(tmp_path / "pets", samples=4)


def test_an_image_file_with_changed_bytes_is_named_or_has_its_pixels_in_the_unit_range(folder):
    kinds = {".png": "L", ".jpg": "RGB", ".gif": "P", ".tif": "F", ".bmp": "RGB", ".webp": "RGB", ".pgm": "L"}
    pixels = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    options = {"mean": [0.0], "std": [1.0], "channels": 1, "size": 8, "augment": False, "val_fraction": 0.3}
    refused = 0
    for seed in IMAGES:
        dice = random.Random(seed)
        suffix, mode = dice.choice(list(kinds.items()))
        file = folder / f"cat/changed{suffix}"
        Image.fromarray(pixels if mode == "F" else (pixels * 255).astype(np.uint8)).convert(mode).save(file)
        file.write_bytes(changed(file.read_bytes(), dice))
        try:
            with warnings.catch_warnings(action="ignore"):  # What Pillow has to say of what it skips.
                splits = load_splits(f"imagefolder:{folder}", options)
            seen = [image for split in (splits.train, splits.val, splits.test) for image, _ in split]
            assert len(seen) == 9
            assert all(image.shape == (1, 8, 8) and 0 <= image.min() <= image.max() <= 1 for image in seen)
        except DataError as error:
            text = str(error)
        else:
            text = ""
        if text:
            refused += 1
            assert text.startswith("1 image cannot be decoded: ")
            assert f"changed{suffix} (" in text
        file.unlink()
    assert 0 < refused < len(IMAGES)


PLACES = ("cat", "Cat", "dog", "train", "Train", "val", "valid", "test", ".git", "caf\u00e9", "cafe\u0301", "a b")
NAMES = ("a.png", "A.PNG", "b.jpg", ".c.png", "notes.txt", "d.tif", os.fsdecode(b"\xff.png"))


def test_of_a_folder_with_a_strange_layout_every_image_is_used_or_it_is_refused(tmp_path):
    for seed in FOLDERS:
        dice = random.Random(seed)
        root = tmp_path / str(seed)
        for _ in range(dice.randrange(1, 12)):
            inside = root.joinpath(*(dice.choice(PLACES) for _ in range(dice.randrange(1, 4))))
            inside.mkdir(parents=True, exist_ok=True)
            for name in dice.sample(NAMES, dice.randrange(3)):
                (inside / name).touch()
        try:
            listing = list_images(root)
        except DataError as error:
            str(error).encode()
            continue
        used = {file for files in listing.files.values() for file in files}
        there = {file for file in root.rglob("*") if file.is_file() and is_image(file.name)}
        lost = {file for file in there - used if ".git" not in file.relative_to(root).parts}
        assert not lost, f"{lost} are left out of {listing.classes}"
