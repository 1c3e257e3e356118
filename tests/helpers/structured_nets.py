"""Networks whose channels hang together in every way that structured pruning must get right, by name.

``python structured_nets.py FOLDER`` rebuilds those that a test saved there and writes down what they give out.
"""

import sys
from pathlib import Path

import safetensors.torch
import torch
import torchvision
from torch import nn

from sparsebench.pruning import Structure, apply_structure


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 49, 40),
        nn.ReLU(),
        nn.Linear(40, 5),
    )


def grouped():
    return nn.Sequential(
        nn.Conv2d(3, 24, 3),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, groups=4),
        nn.ReLU(),
        nn.Conv2d(48, 24, 1, groups=6),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        nn.Conv2d(16, 32, 1),
        nn.Conv2d(32, 64, 3, groups=32),
        nn.ReLU(),
        nn.Conv2d(64, 16, 1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 5),
    )


class Branches(nn.Module):
    """A residual sum and a concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.left = nn.Conv2d(16, 16, 3, padding=1)
        self.right = nn.Conv2d(16, 8, 1)
        self.norm = nn.BatchNorm2d(24)
        self.join = nn.Conv2d(24, 32, 1)
        self.classifier = nn.Linear(32, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.cat([x + self.left(x), self.right(x)], 1)
        return self.classifier(self.join(torch.relu(self.norm(x))).mean((2, 3)))


class Recurrent(nn.Module):
    """Convolutions, whose rows a recurrent layer reads, and a hidden layer after it."""

    def __init__(self, kind=nn.GRU):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 4, 3, padding=1)
        self.rnn = kind(4 * 16, 12, batch_first=True)
        self.hidden = nn.Linear(12, 24)
        self.classifier = nn.Linear(24, 5)

    def forward(self, x):
        x = self.second(torch.relu(self.first(x)))
        outputs, _ = self.rnn(x.transpose(1, 2).flatten(2))
        return self.classifier(torch.relu(self.hidden(outputs[:, -1])))


def mlp():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(768, 48), nn.LayerNorm(48), nn.GELU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 5)
    )


NETS = {
    "plain": plain,
    "grouped": grouped,
    "depthwise": depthwise,
    "branches": Branches,
    "recurrent": Recurrent,
    "mlp": mlp,
    "resnet18": lambda: torchvision.models.resnet18(weights=None, num_classes=5),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(weights=None, num_classes=5),
}
SMALL = tuple(name for name in NETS if name not in ("resnet18", "mobilenet_v2"))


def example(samples=2):
    return torch.rand(samples, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def build(name):
    torch.manual_seed(0)
    net = NETS[name]()
    for module in net.modules():  # as after some training: not all channels alike
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for saved in sorted(Path(sys.argv[1]).glob("*.safetensors")):
        network = apply_structure(build(saved.stem), Structure.from_json(saved.with_suffix(".json").read_text()))
        safetensors.torch.load_model(network, saved)
        with torch.no_grad():
            torch.save(network(example()), saved.with_suffix(".pt"))
    if "torch_pruning" in sys.modules:
        sys.exit("torch-pruning is not needed to load a network")
