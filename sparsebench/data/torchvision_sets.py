"""The small image datasets of torchvision: downloaded with their checksums, then kept in memory as bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsebench.data.cache import cache_folder
from sparsebench.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from sparsebench.data.images import ImageTensors

    Loaded = tuple[list[ImageTensors], int]


@dataclass(frozen=True)
class _Recipe:
    """A dataset of torchvision: its class there, the statistics of its training images, and how they are augmented."""

    kind: str
    about: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int = 4
    flip: bool = True
    classes: int = 10


def _loader(name: str, recipe: _Recipe) -> Callable[..., Loaded]:
    def load(
        root: str | os.PathLike[str] | None = None,
        download: bool = True,
        val_fraction: float = 0.1,
        seed: int = 0,
        augment: bool = True,
        channels: int | None = None,
    ) -> Loaded:
        return _load(name, recipe, root, download, val_fraction, seed, augment, channels)

    load.__name__ = load.__qualname__ = name
    load.__doc__ = f"""{recipe.about}, through torchvision.

    Args:
        root: folder of the files; a cache folder by default.
        download: whether files that are not there are downloaded.
        val_fraction: share of the training images that is held out for validation, classes in equal shares.
        seed: which images those are.
        augment: whether training images are shifted{" and mirrored" * recipe.flip} by chance.
        channels: 3 gives grey images three equal channels; by default they are as they are.

    Returns:
        ``([train, val, test], {recipe.classes})``; images are normalised float32 (C, H, W).

    Raises:
        DataError: where the files are not there and cannot be downloaded.
    """
    load.version = "1"  # type: ignore[attr-defined]  # read by sparsebench.data.fingerprint
    load.places = ("root", "download")  # type: ignore[attr-defined]  # where the data are, not what they are
    return load


def _load(
    name: str,
    recipe: _Recipe,
    root: str | os.PathLike[str] | None,
    download: bool,
    val_fraction: float,
    seed: int,
    augment: bool,
    channels: int | None,
) -> Loaded:
    from sparsebench.data.images import Augmentation, ImageTensors
    from sparsebench.data.splitting import hold_out

    if channels not in (None, len(recipe.mean), 3):
        raise DataError(f"{name} cannot have channels = {channels}; give 3, or leave it at {len(recipe.mean)}.")
    folder = str(cache_folder(root) if root else cache_folder() / "datasets")
    images, labels = _read(name, recipe, folder, download, train=True)
    test_images, test_labels = _read(name, recipe, folder, download, train=False)
    mean, std = recipe.mean, recipe.std
    if channels == 3 and len(mean) == 1:
        images, test_images = (grey.expand(-1, 3, -1, -1).contiguous() for grey in (images, test_images))
        mean, std = mean * 3, std * 3
    train, val = hold_out(labels, [val_fraction], seed, name)
    augmentation = Augmentation(recipe.padding, recipe.flip) if augment else None
    splits = [
        ImageTensors(images, labels, train, mean, std, augmentation),
        ImageTensors(images, labels, val, mean, std),
        ImageTensors(test_images, test_labels, None, mean, std),
    ]
    return splits, recipe.classes


def _read(name: str, recipe: _Recipe, folder: str, download: bool, train: bool) -> tuple[Tensor, Tensor]:
    """Return images, uint8 (N, C, H, W), and labels, int64 (N,), of one of the two published splits."""
    import numpy as np
    import torch
    from torchvision import datasets

    which: dict[str, Any] = {"split": "train" if train else "test"} if recipe.kind == "SVHN" else {"train": train}
    with files_in_words(name, folder, download):
        found = getattr(datasets, recipe.kind)(folder, download=download, **which)
    images = torch.from_numpy(np.ascontiguousarray(found.data)) if isinstance(found.data, np.ndarray) else found.data
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif recipe.kind != "SVHN":  # SVHN has its channels first already.
        images = images.permute(0, 3, 1, 2).contiguous()
    labels = found.labels if recipe.kind == "SVHN" else found.targets
    return images, torch.as_tensor(labels).long()


@contextmanager
def files_in_words(name: str, folder: str, download: bool | None) -> Iterator[None]:
    """Turn what torchvision raises about a dataset's files into an error with its remedy.

    Args:
        name: the dataset.
        folder: where its files are looked for.
        download: whether they were to be downloaded; None where nobody can.

    Raises:
        DataError: with the reason, in place of any other exception.
    """
    try:
        yield
    except Exception as error:  # torchvision has no exception of its own for this.
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        if download:
            text = (
                f"{name} could not be downloaded to {folder!r}: {reason}. Download it where there is a network, and "
                "give its folder as the option root."
            )
        else:
            remedy = "Give" if download is None else "Set the option download = true, or give"
            text = f"{name} cannot be read from {folder!r}: {reason}. {remedy} the folder that holds it as option root."
        raise DataError(text) from error


mnist = _loader(
    "mnist", _Recipe("MNIST", "Handwritten digits, 28 × 28, 10 classes", (0.1307,), (0.3081,), padding=2, flip=False)
)
fashion_mnist = _loader(
    "fashion_mnist",
    _Recipe("FashionMNIST", "Articles of clothing, 28 × 28, 10 classes", (0.2860,), (0.3530,), padding=2),
)
kmnist = _loader(
    "kmnist",
    _Recipe("KMNIST", "Handwritten Kuzushiji, 28 × 28, 10 classes", (0.1918,), (0.3483,), padding=2, flip=False),
)
svhn = _loader(
    "svhn",
    _Recipe(
        "SVHN",
        "House numbers in colour, 32 × 32, 10 classes",
        (0.4377, 0.4438, 0.4728),
        (0.1980, 0.2010, 0.1970),
        flip=False,
    ),
)
cifar10 = _loader(
    "cifar10",
    _Recipe("CIFAR10", "Small photographs, 32 × 32, 10 classes", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
)
cifar100 = _loader(
    "cifar100",
    _Recipe(
        "CIFAR100",
        "Small photographs, 32 × 32, 100 classes",
        (0.5071, 0.4865, 0.4409),
        (0.2673, 0.2564, 0.2762),
        classes=100,
    ),
)
