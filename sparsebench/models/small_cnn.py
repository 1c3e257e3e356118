"""A small convolutional network for small images."""

from torch import Tensor, nn

from sparsebench.errors import ModelError
from sparsebench.models import image_shape


class SmallCNN(nn.Module):
    """Three convolutions with batch normalisation, global average pooling and a linear classifier.

    With 1 input channel, 10 classes and width 32 it has 56,554 parameters.

    Args:
        num_classes: number of classes.
        channels: channels C of the images.
        width: channels of the first convolution; the others have twice as many.
    """

    def __init__(self, num_classes: int, channels: int, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(channels, width),
            nn.MaxPool2d(2),
            *_block(width, 2 * width),
            nn.MaxPool2d(2),
            *_block(2 * width, 2 * width),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(2 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for images (N, C, H, W)."""
        logits: Tensor = self.classifier(self.flatten(self.pool(self.features(images))))
        return logits


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    # No bias: batch normalisation takes it away again.
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def small_cnn(num_classes: int, input_shape: tuple[int, ...], width: int = 32) -> SmallCNN:
    """Three convolutions for small images, 57 k parameters.

    Args:
        num_classes: number of classes.
        input_shape: (C, H, W) of one image; H and W at least 4.
        width: channels of the first convolution.

    Raises:
        ModelError: where the shape is not that of such an image, or ``width`` is below 1.
    """
    channels, _, _ = image_shape("small_cnn", input_shape)
    if width < 1:
        raise ModelError(f"small_cnn cannot have width {width}; give at least 1.")
    return SmallCNN(num_classes, channels, width)
