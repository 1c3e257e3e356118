"""ImageNet (ILSVRC 2012), read from its files as it is trained on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.data.cache import cache_folder
from sparsebench.data.torchvision_sets import files_in_words

if TYPE_CHECKING:
    from torch.utils.data import Dataset


def imagenet(
    root: str | os.PathLike[str] | None = None,
    size: int = 224,
    val_fraction: float = 0.02,
    seed: int = 0,
    augment: bool = True,
) -> tuple[list[Dataset[Any]], int]:
    """ImageNet, photographs of 1000 classes, from its archives (ILSVRC 2012) in a folder.

    The archives cannot be downloaded without an account; torchvision takes them apart, with their checksums, on first
    use. The published validation images are the test split.

    Args:
        root: folder of the archives, or of what was taken out of them; a cache folder by default.
        size: side of the square that images are cropped to.
        val_fraction: share of the training images that is held out for validation, classes in equal shares.
        seed: which images those are.
        augment: whether training images are random parts of the photographs, mirrored by chance.

    Returns:
        ``([train, val, test], 1000)``; images are normalised float32 (3, size, size).

    Raises:
        DataError: where the files are not there, or cannot be read.
    """
    import torch
    from torchvision import datasets

    from sparsebench.data.decoding import ImageFiles
    from sparsebench.data.images import IMAGENET_MEAN, IMAGENET_STD
    from sparsebench.data.splitting import hold_out
    from sparsebench.data.transforms import crop_transform

    folder = str(cache_folder(root) if root else cache_folder() / "datasets" / "imagenet")
    with files_in_words("imagenet", folder, download=None):
        known, tests = (datasets.ImageNet(folder, split=split) for split in ("train", "val"))
    train, val = hold_out(torch.tensor(known.targets), [val_fraction], seed, "imagenet")
    splits: list[Dataset[Any]] = []
    for samples, augmented in (
        ([known.samples[index] for index in train.tolist()], augment),
        ([known.samples[index] for index in val.tolist()], False),
        (tests.samples, False),
    ):
        transform = crop_transform(size, IMAGENET_MEAN, IMAGENET_STD, augmented)
        splits.append(ImageFiles([Path(file) for file, _ in samples], [label for _, label in samples], 3, transform))
    return splits, len(known.classes)


imagenet.version = "1"  # type: ignore[attr-defined]  # read by sparsebench.data.fingerprint
imagenet.places = ("root",)  # type: ignore[attr-defined]  # where the data are, not what they are
