"""Shapes to be found in images, a class for each pixel, and torchvision's LR-ASPP on MobileNetV3 to find them."""

import torch
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

CLASSES = 3  # background, square, disc


def network(num_classes: int) -> nn.Module:
    """Returns a mapping: the scores, (N, classes, H, W), are its entry "out"."""
    return quick(lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes))


def quick(net: nn.Module) -> nn.Module:
    """Let running statistics follow within a short training; those of MobileNetV3 take hundreds of steps."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return net


def shapes(side: int = 48, train: int = 96, test: int = 48) -> tuple[list[TensorDataset], int]:
    parts = [drawn(samples, side, seed) for seed, samples in enumerate((train, test, test))]
    return parts, CLASSES


def drawn(samples: int, side: int, seed: int) -> TensorDataset:
    """Images (N, 3, side, side) of one square and one disc each on noise, and the class of each pixel."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.arange(side)
    size = side // 6 + torch.randint(side // 8, (samples, 2, 1, 1), generator=generator)
    centre = side // 4 + torch.randint(side // 2, (samples, 2, 2), generator=generator)
    off = (place.view(1, 1, -1, 1) - centre[..., :1, None], place.view(1, 1, 1, -1) - centre[..., 1:, None])
    square = torch.maximum(off[0].abs(), off[1].abs()) <= size
    disc = off[0] ** 2 + off[1] ** 2 <= size**2
    targets = torch.zeros(samples, side, side, dtype=torch.int64)
    targets[square[:, 0]] = 1
    targets[disc[:, 1]] = 2
    colours = torch.tensor([[0.0, 0.0, 0.0], [1.5, 0.0, -1.0], [-1.0, 1.5, 0.0]])
    noise = 0.3 * torch.randn(samples, 3, side, side, generator=generator)
    return TensorDataset(colours[targets].movedim(-1, 1) + noise, targets)
