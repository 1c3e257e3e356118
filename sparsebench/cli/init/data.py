"""Which data lie in a folder: images in a folder for each class, or arrays in a .npz file."""

import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from sparsebench.data.arrays import headers, roles_of
from sparsebench.data.listing import is_image, list_images
from sparsebench.errors import DataError
from sparsebench.wording.text import counted, evenly, listing

MOST_GLOBBED = 10_000
LOOKED_AT = 500
"""Images whose size is looked at, spread over all of them."""

KEPT_SIDE = 96
"""Images of one size up to this side stay as they are; others are fitted to ``SIDE``."""
SIDE = 64

NO_DATA = {"runs", "reports", "build", "dist", "site", "mlruns", "venv", "env", "node_modules", "tests", "docs"}
"""Folders that hold no data of a user's, or are too large to look into."""

FEW, OF_FEW = 200, 0.25
HELD_OUT = {"test": 0.2, "val": 0.1}
"""What loaders hold out for want of a split, unless told otherwise."""

Samples = Literal["images", "sequences", "vectors"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Data that a config may name.

    Attributes:
        name: as the config names it.
        what: what it is, as a sentence goes on behind its place.
        samples: what a sample is; None where nobody knows.
        shape: of one sample; None where that is not known.
        classes: how many; None where that is not known.
        training: about how many samples there are to train on; None where that is not known.
        options: its options in the config.
        assumed: what was taken for granted, as sentences.
    """

    name: str
    what: str
    samples: Samples | None = None
    shape: tuple[int, ...] | None = None
    classes: int | None = None
    training: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()


def find_data(folder: Path) -> list[Data]:
    """Return the data that lie in a folder: arrays first, which are data for sure, then folders of images."""
    files = sorted(path for pattern in ("*.npz", "data/*.npz") for path in folder.glob(pattern))
    found = [data for path in files if (data := _arrays(path))]
    places = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.name not in NO_DATA]
    return found + [data for path in places if (data := _images(path))]


def classes_without_a_folder(folder: Path) -> list[str]:
    """Return the names of folders with images that lie beside everything else, where they cannot be named as data."""
    places = (path for path in sorted(folder.iterdir()) if path.is_dir() and path.name not in NO_DATA)
    return [path.name for path in places if any(is_image(file.name) for file in islice(path.iterdir(), 100))]


def _arrays(path: Path) -> Data | None:
    try:
        known = headers(path)
        roles = roles_of(known)
    except DataError:
        return None
    split = "train" if "train" in roles else ""
    inputs = known[roles[split]["inputs"]]
    shape, is_bytes = inputs.shape[1:], inputs.dtype.itemsize == 1
    if not shape:
        return None
    samples: Samples = "vectors"
    options: dict[str, Any] = {}
    assumed: list[str] = []
    if len(shape) == 3:
        samples = "images"
        if shape[2] in (1, 3) and shape[0] not in (1, 3):
            options["layout"], shape = "hwc", (shape[2], *shape[:2])
            assumed.append(f"{path.name}: the last axis is that of the channels (layout = 'hwc').")
    elif len(shape) == 2 and (is_bytes or shape[0] == shape[1]):
        samples, options["layout"], shape = "images", "hw", (1, *shape)
        assumed.append(f"{path.name}: samples are grey images, not sequences (layout = 'hw').")
    elif len(shape) == 2:
        samples = "sequences"
        assumed.append(
            f"{path.name}: samples are sequences of {shape[0]} steps with {counted(shape[1], 'value')} each."
        )
    missing = [name for name in ("test", "val") if name not in roles]
    share = share_left(inputs.shape[0], missing, options)
    held_out = f"; {listing(missing)} {'is' if len(missing) == 1 else 'are'} held out of them" if missing else ""
    return Data(
        name=f"npz:{path.as_posix()}",
        what=f"{inputs.shape[0]:,} samples of shape {'×'.join(map(str, inputs.shape[1:])) or '()'}{held_out}",
        samples=samples,
        shape=shape,
        classes=_classes(path, [parts["labels"] for parts in roles.values()]),
        training=int(inputs.shape[0] * share),
        options=options,
        assumed=tuple(assumed),
    )


def _classes(path: Path, labels: Sequence[str]) -> int | None:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            return 1 + max(int(stored[name].max()) for name in labels)
    except (OSError, ValueError, TypeError):
        return None  # The loader says why such labels are none.


def share_left(samples: int, missing: Sequence[str], options: dict[str, Any]) -> float:
    """Return which share is left for training; of few samples more are held out, so that each class is among them."""
    if samples < FEW:
        options |= {f"{name}_fraction": OF_FEW for name in missing}
        return 1 - OF_FEW * len(missing)
    return 1 - sum(HELD_OUT[name] for name in missing)


def _images(path: Path) -> Data | None:
    if path.is_dir():
        return _image_folder(path)
    return _image_archive(path) if path.suffix.lower() == ".zip" else None


def _image_folder(path: Path) -> Data | None:
    if not any(_class_folders(path)):
        return None
    try:
        found = list_images(path)
    except DataError:
        return None
    files = [file for split in found.files.values() for file in split]
    looked = [look for file in evenly(files, LOOKED_AT) if (look := _look(file))]
    if not looked:
        return None
    options, shape, assumed = _fitted(looked, path.name)
    train = len(found.files["train"])
    # Of two folders the other one is the test split, however it is called.
    share = share_left(train, {1: ("test", "val"), 2: ("val",), 3: ()}[len(found.files)], options)
    named = ", ".join(found.classes[:3]) + (", …" if len(found.classes) > 3 else "")
    return Data(
        name=f"imagefolder:{path.as_posix()}",
        what=f"{counted(len(files), 'image')} of {len(found.classes)} classes ({named})",
        samples="images",
        shape=shape,
        classes=len(found.classes),
        training=int(train * share),
        options=options,
        assumed=assumed,
    )


def _class_folders(path: Path) -> Iterator[Path]:
    """Yield folders at most three levels down that hold an image: of classes, in splits, in a folder around all."""
    for pattern in ("*/*", "*/*/*", "*/*/*/*"):
        yield from (file.parent for file in islice(path.glob(pattern), MOST_GLOBBED) if is_image(file.name))


def _look(file: Path) -> tuple[tuple[int, int], str] | None:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.size, image.mode
    except (OSError, ValueError, Image.DecompressionBombError):
        return None  # The run itself says which files are no images.


def _fitted(
    looked: Sequence[tuple[tuple[int, int], str]], name: str
) -> tuple[dict[str, Any], tuple[int, ...], tuple[str, ...]]:
    """Return the options with which images are read, the shape that they have then, and what was taken for granted."""
    sizes, modes = Counter(size for size, _ in looked), {mode for _, mode in looked}
    options: dict[str, Any] = {}
    assumed = []
    (width, height), _ = sizes.most_common(1)[0]
    if len(sizes) > 1 or max(width, height) > KEPT_SIDE:
        options["size"] = SIDE
        seen = f"{width} × {height}" if len(sizes) == 1 else f"{len(sizes)} sizes"
        assumed.append(f"{name}: images of {seen} are fitted to {SIDE} × {SIDE} (size); larger ones take longer.")
        width = height = SIDE
    channels = 3
    if all(mode == "1" or mode.startswith(("L", "I", "F")) for mode in modes):
        options["channels"] = channels = 1
        assumed.append(f"{name}: the images are grey (channels = 1).")
    return options, (channels, height, width), tuple(assumed)


def _image_archive(path: Path) -> Data | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if is_image(name)]
    except (OSError, zipfile.BadZipFile):
        return None
    classes = {os.path.dirname(name) for name in names} - {""}
    if len(classes) < 2:
        return None
    options: dict[str, Any] = {"size": SIDE}
    share = share_left(len(names), ("test", "val"), options)
    return Data(
        name=f"imagefolder:{path.as_posix()}",
        what=f"{counted(len(names), 'image')} in {len(classes)} folders",
        samples="images",
        shape=(3, SIDE, SIDE),
        training=int(len(names) * share),
        options=options,
        assumed=(f"{path.name}: images are fitted to {SIDE} × {SIDE} (size) in colour.",),
    )
