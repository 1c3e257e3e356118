"""The image datasets of torchvision.

The small ones are downloaded with their checksums, then kept in memory as bytes; ImageNet is read from its files.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.data import cache_folder
from sparsebench.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class TorchvisionSet:
    """A dataset of torchvision: its class there, the statistics of its training images, and how they are augmented."""

    name: str
    kind: str
    about: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int = 4
    flip: bool = True
    classes: int = 10

    version = "1"  # read by sparsebench.data.fingerprint
    places = ("root", "download")  # where the data are, not what they are

    def __post_init__(self) -> None:
        self.__doc__ = f"{self.about}, {self.classes} classes, through torchvision."

    def __call__(
        self,
        root: str | os.PathLike[str] | None = None,
        download: bool = True,
        val_fraction: float = 0.1,
        seed: int = 0,
        augment: bool = True,
        channels: int | None = None,
    ) -> tuple[list[Any], int]:
        """Load the dataset in three splits.

        Args:
            root: folder of the files; a cache folder by default.
            download: whether files that are not there are downloaded.
            val_fraction: share of the training images that is held out for validation, classes in equal shares.
            seed: which images those are.
            augment: whether training images are shifted by chance, and mirrored where that leaves them what they are.
            channels: 3 gives grey images three equal channels; by default they are as they are.

        Returns:
            ``([train, val, test], number_of_classes)``; images are normalised float32 (C, H, W).

        Raises:
            DataError: where the files are not there and cannot be downloaded.
        """
        from sparsebench.data.images import Augmentation, ImageTensors, hold_out

        name, mean, std = self.name, self.mean, self.std
        if channels not in (None, len(mean), 3):
            raise DataError(f"{name} cannot have channels = {channels}; give 3, or leave it at {len(mean)}.")
        folder = str(cache_folder(root or None, "datasets"))
        images, labels = self._read(folder, download, train=True)
        test_images, test_labels = self._read(folder, download, train=False)
        if channels == 3 and len(mean) == 1:
            images, test_images = (grey.expand(-1, 3, -1, -1).contiguous() for grey in (images, test_images))
            mean, std = mean * 3, std * 3
        train, val = hold_out(labels, [val_fraction], seed, name)
        augmentation = Augmentation(self.padding, self.flip) if augment else None
        splits = [
            ImageTensors(images, labels, train, mean, std, augmentation),
            ImageTensors(images, labels, val, mean, std),
            ImageTensors(test_images, test_labels, None, mean, std),
        ]
        return splits, self.classes

    def _read(self, folder: str, download: bool, train: bool) -> "tuple[Tensor, Tensor]":
        """Return images, uint8 (N, C, H, W), and labels, int64 (N,), of one of the two published splits."""
        import torch
        from torchvision import datasets

        svhn = self.kind == "SVHN"  # It has its own names, and its channels first already.
        which: dict[str, Any] = {"split": "train" if train else "test"} if svhn else {"train": train}
        with files_in_words(self.name, folder, download):
            found = getattr(datasets, self.kind)(folder, download=download, **which)
        images = torch.as_tensor(found.data)
        if images.ndim == 3:
            images = images.unsqueeze(1)
        elif not svhn:
            images = images.permute(0, 3, 1, 2)
        return images.contiguous(), torch.as_tensor(found.labels if svhn else found.targets).long()


@contextmanager
def files_in_words(name: str, folder: str, download: bool | None) -> Iterator[None]:
    """Turn what torchvision raises about a dataset's files in a folder into a DataError with its remedy.

    ``download`` says whether they were to be downloaded; None where nobody can.
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


mnist = TorchvisionSet("mnist", "MNIST", "Handwritten digits, 28 × 28", (0.1307,), (0.3081,), padding=2, flip=False)
fashion_mnist = TorchvisionSet(
    "fashion_mnist", "FashionMNIST", "Articles of clothing, 28 × 28", (0.2860,), (0.3530,), padding=2
)
kmnist = TorchvisionSet(
    "kmnist", "KMNIST", "Handwritten Kuzushiji, 28 × 28", (0.1918,), (0.3483,), padding=2, flip=False
)
svhn = TorchvisionSet(
    "svhn", "SVHN", "House numbers in colour, 32 × 32", (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), flip=False
)
cifar10 = TorchvisionSet(
    "cifar10", "CIFAR10", "Small photographs, 32 × 32", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
)
cifar100 = TorchvisionSet(
    "cifar100",
    "CIFAR100",
    "Small photographs, 32 × 32",
    (0.5071, 0.4865, 0.4409),
    (0.2673, 0.2564, 0.2762),
    classes=100,
)


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

    from sparsebench.data.cropping import cropped_splits
    from sparsebench.data.images import IMAGENET_MEAN, IMAGENET_STD, hold_out

    folder = str(cache_folder(root or None, "datasets/imagenet"))
    with files_in_words("imagenet", folder, download=None):
        known, tests = (datasets.ImageNet(folder, split=split) for split in ("train", "val"))
    held = hold_out(torch.tensor(known.targets), [val_fraction], seed, "imagenet")
    samples = [*([known.samples[index] for index in rows.tolist()] for rows in held), tests.samples]
    parts = [[(Path(file), label) for file, label in part] for part in samples]
    return cropped_splits(parts, 3, size, IMAGENET_MEAN, IMAGENET_STD, augment), len(known.classes)


imagenet.version = "2"  # type: ignore[attr-defined]  # read by sparsebench.data.fingerprint
imagenet.places = ("root",)  # type: ignore[attr-defined]  # where the data are, not what they are
