"""The networks of MLPerf Tiny (Banbury et al. 2021, "MLPerf Tiny Benchmark") for images and spoken words.

They have the layers and parameter counts of the reference implementation in Keras. Strided convolutions are padded
alike on all sides, as PyTorch does, where Keras pads the far side more.
"""

from itertools import pairwise

from torch import Tensor, nn

from sparsebench.models import image_shape

_MOBILENET_WIDTHS = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
_MOBILENET_STRIDED = {2, 4, 6, 12}


class ResNet8(nn.Module):
    """Three residual blocks of 16, 32 and 64 channels after a convolution; shortcuts are 1 × 1 convolutions.

    Args:
        num_classes: number of classes.
        channels: channels C of the images.
    """

    def __init__(self, num_classes: int, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(channels, 16, 3))
        self.blocks = nn.Sequential(_Residual(16, 16, 1), _Residual(16, 32, 2), _Residual(32, 64, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for images (N, C, H, W)."""
        logits: Tensor = self.classifier(self.flatten(self.pool(self.blocks(self.stem(images)))))
        return logits


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inputs, outputs, 3, stride),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.relu(self.body(features) + self.shortcut(features))
        return result


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def _separable(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return *_convolution(inputs, inputs, 3, stride, groups=inputs), *_convolution(inputs, outputs, 1)


def resnet8(num_classes: int, input_shape: tuple[int, ...]) -> ResNet8:
    """Residual network of MLPerf Tiny for CIFAR-10 (image classification), 78 k parameters."""
    return ResNet8(num_classes, image_shape("resnet8", input_shape)[0])


def ds_cnn(num_classes: int, input_shape: tuple[int, ...]) -> nn.Sequential:
    """Depthwise separable network of MLPerf Tiny for spoken words (1 × 49 × 10 coefficients), 24 k parameters."""
    channels, _, _ = image_shape("ds_cnn", input_shape)
    return nn.Sequential(
        nn.Conv2d(channels, 64, (10, 4), stride=2, padding=(5, 1)),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Dropout(0.2),
        *(layer for _ in range(4) for layer in _separable(64, 64)),
        nn.Dropout(0.4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, num_classes),
    )


def mobilenet_v1_025(num_classes: int, input_shape: tuple[int, ...]) -> nn.Sequential:
    """MobileNetV1 of a quarter of its width, of MLPerf Tiny for visual wake words (3 × 96 × 96), 0.22 M parameters."""
    channels, _, _ = image_shape("mobilenet_v1_025", input_shape, smallest_side=16)
    separable = [
        layer
        for number, (inputs, outputs) in enumerate(pairwise(_MOBILENET_WIDTHS), start=1)
        for layer in _separable(inputs, outputs, stride=2 if number in _MOBILENET_STRIDED else 1)
    ]
    return nn.Sequential(
        *_convolution(channels, _MOBILENET_WIDTHS[0], 3, stride=2),
        *separable,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(_MOBILENET_WIDTHS[-1], num_classes),
    )
