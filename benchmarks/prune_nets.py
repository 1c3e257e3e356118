"""The networks, the training steps and the two ways of pruning that the benchmarks of pruning compare."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune as torch_prune
from torchvision.models import mobilenet_v2, resnet50

from sparsebench.pruning import prunable_weights


class Block(nn.Module):
    """Two convolutions and a shortcut without weights: strided and padded with zero channels (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.padding = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(y + x)


def resnet20(num_classes: int = 10) -> nn.Module:
    """ResNet-20 for CIFAR: He et al., "Deep Residual Learning" (2016), section 4.2."""
    widths = [16] * 4 + [32] * 3 + [64] * 3
    blocks = [Block(inputs, outputs, 1 + (outputs > inputs)) for inputs, outputs in pairwise(widths)]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, num_classes),
    )


@dataclass(frozen=True)
class Case:
    """A network, the batch it is trained with, and what pruning it must reach (None: no target)."""

    name: str
    build: Callable[..., nn.Module]
    batch_size: int
    ratio_target: float | None
    share_target: float | None


CASES = (
    Case("ResNet-20", resnet20, 128, 8, 0.05),
    Case("MobileNetV2", mobilenet_v2, 32, None, None),
    Case("ResNet-50", resnet50, 32, 25, 0.15),
)


class TrainingStep:
    """A step of training on random images of 32×32, in fp32, with Adam."""

    def __init__(self, net: nn.Module, batch_size: int) -> None:
        self.net = net.train()
        self.optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        self.inputs = torch.randn(batch_size, 3, 32, 32)
        self.labels = torch.randint(0, 10, (batch_size,))

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(self.net(self.inputs), self.labels).backward()
        self.optimizer.step()


def prune_with_torch(net: nn.Module, threshold: float) -> None:
    """Prune as a user of torch.nn.utils.prune does at every step: global, by magnitude, masks made permanent."""
    modules = dict(net.named_modules())
    pairs = [(modules[weight.layer], "weight") for weight in prunable_weights(net)]
    torch_prune.global_unstructured(pairs, pruning_method=torch_prune.L1Unstructured, amount=threshold)
    for module, name in pairs:
        torch_prune.remove(module, name)


@torch.no_grad()
def copy_prunable(source: nn.Module, target: nn.Module) -> None:
    """Give ``target`` the prunable weights of ``source``."""
    for theirs, ours in zip(prunable_weights(source), prunable_weights(target), strict=True):
        ours.parameter.copy_(theirs.parameter)


def differing_zeros(net: nn.Module, other: nn.Module, before: nn.Module) -> tuple[int, int]:
    """Return in how many places two pruned networks differ, and in how many of these it is no tie between equals."""
    kept_by_one = []
    for first, second, old in zip(*map(prunable_weights, (net, other, before)), strict=True):
        differs = (first.parameter == 0) != (second.parameter == 0)
        kept_by_one.append(old.parameter.detach().abs()[differs])
    magnitudes = torch.cat(kept_by_one)
    return len(magnitudes), int((magnitudes != magnitudes.median()).sum()) if len(magnitudes) else 0
