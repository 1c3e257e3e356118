"""Small images in memory as bytes, augmented and normalised a whole batch at a time; splits held out of a dataset."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from sparsebench.errors import DataError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_BRIGHTEST = 255.0
_ROUNDING = 1e-6
"""A share of a whole number of samples, such as 0.3 of 20, is not to be one more by rounding of fractions."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images at random.

    Of an image with ``padding`` black pixels around it a window of its size is cut; ``flip`` mirrors every other one.
    """

    padding: int = 4
    flip: bool = True


class ImageTensors(Dataset[Any]):
    """Images in memory, (N, C, H, W) in bytes or in [0, 1], which give normalised floats.

    A batch is gathered, augmented and normalised at once, on the device on which the images are; ``fetch`` is what
    loaders use, and indexing gives single samples for whoever brings a loader of their own.

    Args:
        images: uint8, or float32 in [0, 1], (N, C, H, W); several datasets may share them.
        labels: int64 (N,).
        rows: int64, which of them belong to this dataset; None for all.
        mean: of each channel, in [0, 1].
        std: standard deviation of each channel, in (0, 1].
        augmentation: drawn anew for each image that is read, from torch's global generator; None for none.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        rows: Tensor | None,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None = None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.rows = torch.arange(len(images)) if rows is None else rows
        deviation = torch.tensor(std).view(-1, 1, 1)
        self.scale = 1 / ((1.0 if images.is_floating_point() else _BRIGHTEST) * deviation)
        self.shift = -torch.tensor(mean).view(-1, 1, 1) / deviation
        self.augmentation = augmentation

    @property
    def targets(self) -> Tensor:
        """The labels, (len(self),)."""
        return self.labels[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Return samples; torch's own loader asks for those of a batch together."""
        images, labels = self.fetch(torch.as_tensor(indices))
        return list(zip(images, labels.tolist(), strict=True))

    def fetch(self, positions: Tensor) -> list[Tensor]:
        """Return images, float32 (B, C, H, W), and labels, int64 (B,), of positions (B,) below ``len(self)``."""
        rows = self.rows[positions].to(self.images.device)
        images = self.images.index_select(0, rows)
        if self.augmentation is not None:
            images = augment(images, self.augmentation)
        return [images.to(torch.float32).mul_(self.scale).add_(self.shift), self.labels.index_select(0, rows)]

    def to(self, device: torch.device) -> Self:
        """Return the same dataset with its images on a device, where its batches are then made."""
        moved = copy.copy(self)
        for name in ("images", "labels", "scale", "shift"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved


def augment(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Shift and mirror each image of a batch (B, C, H, W) by chance, at once: the crops of all are one gather."""
    batch, channels, height, width = images.shape
    device, pad = images.device, augmentation.padding
    if pad:
        images = functional.pad(images, (pad, pad, pad, pad))
    top, left = torch.randint(0, 2 * pad + 1, (2, batch, 1), device=device)
    rows = top + torch.arange(height, device=device)
    columns = torch.arange(width, device=device).expand(batch, width)
    if augmentation.flip:
        mirrored = torch.rand(batch, 1, device=device) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    pixels = rows.unsqueeze(2) * (width + 2 * pad) + (left + columns).unsqueeze(1)
    chosen = images.flatten(2).gather(2, pixels.view(batch, 1, -1).expand(batch, channels, height * width))
    return chosen.view(batch, channels, height, width)


def hold_out(labels: Tensor, fractions: Sequence[float], seed: int, what: str) -> list[Tensor]:
    """Split samples so that every part holds the classes in equal shares.

    Args:
        labels: (N,), whole numbers.
        fractions: share of all samples in each part that is held out, in (0, 1); their sum must be below 1.
        seed: which samples go where.
        what: names the dataset in an error.

    Returns:
        The indices of the rest, and those of each part, int64, in an order drawn by the seed.

    Raises:
        DataError: where a part would be empty, or lack a class.
    """
    if not (all(fraction > 0 for fraction in fractions) and sum(fractions) < 1):
        raise DataError(
            f"{what} cannot be split by the fractions {', '.join(f'{fraction:g}' for fraction in fractions)}; "
            "each must be above 0 and their sum below 1."
        )
    rest, parts = np.arange(len(labels)), []
    for fraction in fractions:
        samples = math.ceil(fraction * len(labels) - _ROUNDING)
        try:
            rest, held = train_test_split(rest, test_size=samples, random_state=seed, stratify=labels.numpy()[rest])
        except ValueError as error:
            raise DataError(
                f"{what} cannot be split like this: {error} Use larger fractions, or more images."
            ) from error
        parts.append(held)
    return [torch.from_numpy(part) for part in (rest, *parts)]
