"""ImageNet (ILSVRC 2012), read from its files as it is trained on."""

import os
from pathlib import Path
from typing import Any

from sparsebench.data.cache import cache_folder
from sparsebench.data.torchvision_sets import files_in_words


def imagenet(
    root: str | os.PathLike[str] | None = None,
    size: int = 224,
    val_fraction: float = 0.02,
    seed: int = 0,
    augment: bool = True,
) -> tuple[list[Any], int]:
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

    from sparsebench.data.decoding import cropped_splits
    from sparsebench.data.images import IMAGENET_MEAN, IMAGENET_STD
    from sparsebench.data.splitting import hold_out

    folder = str(cache_folder(root or None, "datasets/imagenet"))
    with files_in_words("imagenet", folder, download=None):
        known, tests = (datasets.ImageNet(folder, split=split) for split in ("train", "val"))
    held = hold_out(torch.tensor(known.targets), [val_fraction], seed, "imagenet")
    samples = [*([known.samples[index] for index in rows.tolist()] for rows in held), tests.samples]
    parts = [[(Path(file), label) for file, label in part] for part in samples]
    return cropped_splits(parts, 3, size, IMAGENET_MEAN, IMAGENET_STD, augment), len(known.classes)


imagenet.version = "1"  # type: ignore[attr-defined]  # read by sparsebench.data.fingerprint
imagenet.places = ("root",)  # type: ignore[attr-defined]  # where the data are, not what they are
