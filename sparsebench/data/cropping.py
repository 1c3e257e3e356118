"""Image files that are decoded and cropped one by one, when they are read: for those that do not fit into memory."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from sparsebench.data.decoding import most_pixels
from sparsebench.data.reading import read_image, undecodable
from sparsebench.errors import DataError

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
        except Exception as error:  # Pillow raises what its decoders raise.
            raise DataError(undecodable([(self.files[index], error)])) from error
        # One of more than 8 bits is grey.
        return self.transform(image).expand(self.channels, -1, -1), self.targets[index]


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

    Raises:
        DataError: where images of that size would not fit into the memory of this machine.
    """
    most = math.isqrt(int(most_pixels()))
    if not 1 <= size <= most:
        raise DataError(f"size is {size}; give the side of the images in pixels, 1 to {most:,} on this machine.")
    middle = [transforms.Resize(round(size / _CROP)), transforms.CenterCrop(size)]
    random = [transforms.RandomResizedCrop(size), *([transforms.RandomHorizontalFlip()] if flip else [])]
    normalised = [transforms.ToTensor(), transforms.Normalize(list(mean), list(std))]  # ToTensor leaves floats alone.
    return [
        ImageFiles(
            [file for file, _ in part],
            [label for _, label in part],
            channels,
            transforms.Compose([*(random if augment and place == 0 else middle), *normalised]),
        )
        for place, part in enumerate(parts)
    ]
