"""Data and a network so small that a sweep of theirs takes about a second: for tests that need many of them."""

import torch
from sweeps import TIMED
from torch import nn
from torch.utils.data import TensorDataset

from sparsebench import Trainer, load_config

CLASSES = 3

QUICK = (
    "name=quick",
    "seeds=0",
    "thresholds=0,0.8",
    "schemes=fp32,static",
    "model.name=quick:network",
    "data.name=quick:load",
    "train.epochs=1",
    "train.batch_size=16",
    "measure.batch_sizes=[]",  # nothing is timed
)

QUICK_TIMED = (*TIMED, "measure.threads=1")
"""To be added to ``QUICK``."""


def quick(*overrides):
    return load_config(None, [*QUICK, *overrides])


def network(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, num_classes))


def load():
    generator = torch.Generator().manual_seed(7)
    centres = torch.randn(CLASSES, 1, 4, 4, generator=generator)

    def split(samples):
        labels = torch.arange(samples) % CLASSES
        return TensorDataset(centres[labels] + 0.8 * torch.randn(samples, 1, 4, 4, generator=generator), labels)

    return [split(64), split(33), split(48)], CLASSES


class Drifting(Trainer):
    """Trains to another network where ``drift`` has changed in between, as a machine that rounds otherwise does."""

    drift = 0.0

    def train(self, net, parameters, name, epochs, reload, old_net):
        trained = super().train(net, parameters, name, epochs, reload, old_net)
        with torch.no_grad():
            trained[-1].bias += self.drift
        return trained
