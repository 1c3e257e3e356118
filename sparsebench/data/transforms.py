"""The usual transforms of large images, one image at a time, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

_CROP = 0.875
"""Evaluation crops the middle 224 pixels of 256, and other sizes alike."""


def crop_transform(
    size: int, mean: Sequence[float], std: Sequence[float], augment: bool, flip: bool = True
) -> Callable[[Any], Tensor]:
    """Return what makes a normalised tensor (C, size, size) of a PIL image.

    Args:
        size: side of the square.
        mean: of each channel, in [0, 1].
        std: standard deviation of each channel.
        augment: whether it is a random part of the image, of 8 to 100 % of its area; otherwise it is the middle.
        flip: whether half of the augmented images are mirrored.
    """
    from torchvision import transforms

    if augment:
        steps = [transforms.RandomResizedCrop(size), *([transforms.RandomHorizontalFlip()] if flip else [])]
    else:
        steps = [transforms.Resize(round(size / _CROP)), transforms.CenterCrop(size)]
    made: Callable[[Any], Tensor] = transforms.Compose(
        [*steps, transforms.ToTensor(), transforms.Normalize(list(mean), list(std))]
    )
    return made
