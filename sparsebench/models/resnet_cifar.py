"""The residual networks for CIFAR of He et al. (2015), "Deep Residual Learning for Image Recognition", section 4.2.

Parameters and buffers have the names that the published PyTorch checkpoints of these networks use.
"""

from torch import Tensor, nn

from sparsebench.models import image_shape

_WIDTHS = (16, 32, 64)


class ResNetCIFAR(nn.Module):
    """A convolution, three stages of residual blocks with 16, 32 and 64 channels, global pooling and a classifier.

    Shortcuts have no parameters (option A of the paper).

    Args:
        blocks: blocks of each stage; the network has ``6 × blocks + 2`` layers with weights.
        num_classes: number of classes.
        channels: channels C of the images.
    """

    def __init__(self, blocks: int, num_classes: int, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU()
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], blocks, stride=1)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], blocks, stride=2)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(_WIDTHS[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # as in the paper, by its reference [13]
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for images (N, C, H, W)."""
        features = self.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.linear(self.flatten(self.pool(features)))
        return logits


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else PaddedShortcut(inputs, outputs, stride)
        self.relu2 = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Return features (N, outputs, H / stride, W / stride)."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(features)))))
        result: Tensor = self.relu2(residual + self.shortcut(features))
        return result


class PaddedShortcut(nn.Module):
    """Option A: every ``stride``-th row and column, between channels of zeros, without parameters.

    Which channels it hands on is fixed by their position, so that structured pruning must not remove any here.
    """

    keeps_channels = True

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.subsample = nn.MaxPool2d(1, stride)
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, features: Tensor) -> Tensor:
        """Return features (N, outputs, H / stride, W / stride)."""
        return nn.functional.pad(self.subsample(features), (0, 0, 0, 0, self.before, self.after))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


def resnet20(num_classes: int, input_shape: tuple[int, ...]) -> ResNetCIFAR:
    """Residual network of 20 layers for CIFAR (He et al. 2015), 0.27 M parameters."""
    return _of_depth(20, num_classes, input_shape)


def resnet32(num_classes: int, input_shape: tuple[int, ...]) -> ResNetCIFAR:
    """Residual network of 32 layers for CIFAR (He et al. 2015), 0.46 M parameters."""
    return _of_depth(32, num_classes, input_shape)


def resnet44(num_classes: int, input_shape: tuple[int, ...]) -> ResNetCIFAR:
    """Residual network of 44 layers for CIFAR (He et al. 2015), 0.66 M parameters."""
    return _of_depth(44, num_classes, input_shape)


def resnet56(num_classes: int, input_shape: tuple[int, ...]) -> ResNetCIFAR:
    """Residual network of 56 layers for CIFAR (He et al. 2015), 0.85 M parameters."""
    return _of_depth(56, num_classes, input_shape)


def resnet110(num_classes: int, input_shape: tuple[int, ...]) -> ResNetCIFAR:
    """Residual network of 110 layers for CIFAR (He et al. 2015), 1.7 M parameters."""
    return _of_depth(110, num_classes, input_shape)


def _of_depth(depth: int, num_classes: int, input_shape: tuple[int, ...]) -> ResNetCIFAR:
    return ResNetCIFAR((depth - 2) // 6, num_classes, image_shape(f"resnet{depth}", input_shape)[0])
