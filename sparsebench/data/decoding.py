"""Image files decoded: one by one where there are many, or all at once into one array of bytes, kept on disk."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from sparsebench.errors import DataError
from sparsebench.wording.text import first_of

_MODES = {1: "L", 3: "RGB"}
_CHUNK = 256
_WORTH_KEEPING = 2000
"""From so many images on, what was decoded is kept on disk: below that, decoding takes a second or two."""
_NAMES_SHOWN = 5
_VERSION = 1
_CROP = 0.875
"""Evaluation crops the middle 224 pixels of 256, and other sizes alike."""


@dataclass(eq=False)
class ImageFiles(Dataset[Any]):
    """Image files with their labels, decoded when they are read, for what does not fit into memory.

    ``channels`` is 1 or 3; ``transform`` makes a tensor of a PIL image.
    """

    files: Sequence[Path]
    targets: Sequence[int]
    channels: int
    transform: Callable[[Image.Image], Tensor]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            image = read_image(self.files[index], self.channels)
        except Exception as error:  # PIL raises what its decoders raise.
            raise DataError(_undecodable([(self.files[index], error)])) from error
        return self.transform(image), self.targets[index]


def cropped_splits(
    parts: Sequence[Sequence[tuple[Path, int]]],
    channels: int,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    augment: bool,
    flip: bool = True,
) -> list[ImageFiles]:
    """Return splits of image files, which give normalised tensors (channels, size, size).

    Args:
        parts: the files of each split with their labels, those for training first.
        channels: 1 or 3.
        size: side of the square.
        mean: of each channel, in [0, 1].
        std: standard deviation of each channel.
        augment: whether training images are random parts of 8 to 100 % of the area; otherwise all are the middle.
        flip: whether half of the augmented images are mirrored.
    """
    middle = [transforms.Resize(round(size / _CROP)), transforms.CenterCrop(size)]
    random = [transforms.RandomResizedCrop(size), *([transforms.RandomHorizontalFlip()] if flip else [])]
    normalised = [transforms.ToTensor(), transforms.Normalize(list(mean), list(std))]
    return [
        ImageFiles(
            [file for file, _ in part],
            [label for _, label in part],
            channels,
            transforms.Compose([*(random if augment and place == 0 else middle), *normalised]),
        )
        for place, part in enumerate(parts)
    ]


def read_image(file: Path, channels: int, size: int | None = None) -> Image.Image:
    """Return an image, in colour or grey; with ``size``, its middle square in ``size`` × ``size`` pixels."""
    with Image.open(file) as opened:
        image = opened.convert(_MODES[channels])
    return image if size is None else ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def image_size(file: Path) -> tuple[int, int]:
    """Return (height, width) of an image without decoding it.

    Raises:
        DataError: where the file is no image.
    """
    try:
        with Image.open(file) as opened:
            return opened.height, opened.width
    except Exception as error:
        raise DataError(_undecodable([(file, error)])) from error


def decode_all(files: Sequence[Path], channels: int, size: int | None, cache: Path) -> Tensor:
    """Return all images as bytes, uint8 (N, C, H, W), from the cache if they were decoded before.

    Each is fitted to a square of side ``size``; None where all have one size. Many are mapped into memory from a cache.

    Raises:
        DataError: where images cannot be decoded, all of them named, or differ in size.
    """
    kept = cache / f"images-{_digest(files, channels, size)}.npy"
    if kept.is_file():
        return torch.from_numpy(np.load(kept, mmap_mode="c"))
    height, width = image_size(files[0]) if size is None else (size, size)
    images = np.empty((len(files), channels, height, width), dtype=np.uint8)
    failed: list[tuple[Path, Exception]] = []
    sizes: Counter[str] = Counter()

    def decode(start: int) -> None:
        for index in range(start, min(start + _CHUNK, len(files))):
            try:
                pixels = np.asarray(read_image(files[index], channels, size))
            except Exception as error:  # One bad file must not hide the others.
                failed.append((files[index], error))
                continue
            sizes[f"{pixels.shape[0]} × {pixels.shape[1]}"] += 1
            if pixels.shape[:2] == (height, width):
                images[index] = pixels.reshape(height, width, channels).transpose(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, range(0, len(files), _CHUNK)))
    if failed:
        raise DataError(_undecodable(sorted(failed, key=lambda item: item[0])))
    if len(sizes) > 1:
        found = ", ".join(f"{count} of {name}" for name, count in sizes.most_common(_NAMES_SHOWN))
        raise DataError(f"The images differ in size ({found}); give the option size, to which all are fitted.")
    if len(files) >= _WORTH_KEEPING:
        _keep(images, kept)
    return torch.from_numpy(images)


def _keep(images: Any, path: Path) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.save(file, images, allow_pickle=False)
        partial.replace(path)
    except OSError as error:
        raise DataError(
            f"The decoded images cannot be kept in {path.parent}: {error.strerror}. Make room there, or choose another "
            "folder as cache_dir."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _digest(files: Sequence[Path], channels: int, size: int | None) -> str:
    digest = hashlib.sha256(f"{_VERSION}\0{channels}\0{size}\n".encode())
    for file in files:
        facts = file.stat()
        digest.update(f"{file}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _undecodable(failed: Sequence[tuple[Path, Exception]]) -> str:
    named = first_of([f"{file} ({error})" for file, error in failed], _NAMES_SHOWN)
    return f"{len(failed)} image{'s' * (len(failed) > 1)} cannot be decoded: {named}. Replace or remove them."
