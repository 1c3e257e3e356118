"""The networks of the matrix of schemes and backends, with inputs that they tell apart for sure.

``python matrix_nets.py FOLDER`` restores, in a process of its own, what a test compressed into FOLDER, and writes down
what it gives out.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torchvision.models import mobilenet_v2, resnet18

from sparsebench.models import build_model

CLASSES = 10


@dataclass(frozen=True)
class Net:
    """How a network is built, the shape of one sample, and whether it is large."""

    build: object
    shape: tuple
    large: bool = False


NETS = {
    "small_cnn": Net(lambda: build_model("small_cnn", CLASSES, (3, 16, 16), {"width": 16}), (3, 16, 16)),
    "resnet20": Net(lambda: build_model("resnet20", CLASSES, (3, 32, 32), {}), (3, 32, 32)),
    "resnet18": Net(lambda: resnet18(num_classes=CLASSES), (3, 64, 64), large=True),
    "mobilenet_v2": Net(lambda: mobilenet_v2(num_classes=CLASSES), (3, 64, 64), large=True),
    "gru": Net(lambda: build_model("gru_classifier", CLASSES, (8, 12), {"hidden": 32}), (8, 12)),
    "lstm": Net(lambda: build_model("lstm_classifier", CLASSES, (8, 12), {}), (8, 12)),
}


def structured(shape, samples, seed):
    """Return inputs of ten classes, each a pattern of its own under noise, and their labels."""
    generator = torch.Generator().manual_seed(0)
    if len(shape) == 3:  # coloured blotches
        small = torch.randn(CLASSES, shape[0], 4, 4, generator=generator)
        patterns = nn.functional.interpolate(small, shape[1:], mode="bilinear", align_corners=False)
    else:  # a wave for each feature
        phase = 6.3 * torch.rand(CLASSES, 1, shape[1], generator=generator)
        speed = 0.5 + torch.rand(CLASSES, 1, shape[1], generator=generator)
        patterns = torch.sin(phase + speed * torch.arange(shape[0]).reshape(1, -1, 1))
    generator.manual_seed(seed)
    labels = torch.arange(samples) % CLASSES
    return patterns[labels] + 0.2 * torch.randn(samples, *shape, generator=generator), labels


def settled(name):
    """Return a network after a few steps of training on the structured inputs, which it then tells apart.

    Random weights would not do: their outputs are near ties, which rounding to int8 turns over and over again.
    """
    net = NETS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = net.build().train()
        steps = 25 if len(net.shape) == 3 else 100
        inputs, labels = structured(net.shape, 20 * steps, seed=1)
        optimizer = torch.optim.Adam(built.parameters(), lr=3e-3)
        for batch, wanted in zip(inputs.split(20), labels.split(20), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(built(batch), wanted).backward()
            optimizer.step()
        # The running statistics lag behind a training as short as this: take those of the trained weights.
        for module in built.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()
                module.momentum = None  # the mean over all batches
        with torch.no_grad():
            for batch in inputs[:240].split(80):
                built(batch)
    return built.eval()


def batches(name, count=4):
    """Return calibration batches."""
    return structured(NETS[name].shape, 16 * count, seed=2)[0].split(16)


def held_out(name):
    """Return inputs that nothing was fitted to, and their labels."""
    return structured(NETS[name].shape, 40 if NETS[name].large else 100, seed=3)


def outputs(network, inputs):
    """Return what a network gives out, batch by batch, the last one smaller."""
    with torch.no_grad():
        return torch.cat([network(batch) for batch in inputs.split(40)])


if __name__ == "__main__":
    from sparsebench.backends import build_backend

    torch.set_num_threads(1)
    for folder in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
        asked = json.loads((folder / "asked.json").read_text())
        network = NETS[asked["net"]].build()
        network.load_state_dict(torch.load(folder / "float.pt", weights_only=True))
        files = {path.name: path for path in (folder / "files").iterdir()}
        example = (batches(asked["net"])[0][:8],)
        restored = build_backend(asked["backend"]).restore(network.eval(), asked["scheme"], example, files)
        torch.save(outputs(restored, held_out(asked["net"])[0]), folder / "again.pt")
