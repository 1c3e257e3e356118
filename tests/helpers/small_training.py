"""A small network, data that it learns in a second, and a trainer for both."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

from sparsebench.pruning import prunable_weights
from sparsebench.training.trainer import Trainer

PARAMETERS = {"learning_rate": 2e-3, "learning_step": 0.15, "learning_gamma": 0.2, "prune_threshold": 0.0}


def blobs(samples, classes=4, features=8):
    labels = torch.arange(samples) % classes
    return TensorDataset(nn.functional.one_hot(labels, features) * 3.0 + torch.randn(samples, features), labels)


def mlp(classes=4, features=8):
    return nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, classes))


def make(tmp_path, datasets=None, batch=16, collate_fn=None, trainer_class=Trainer, pruning=False, **settings):
    datasets = datasets or [blobs(70), blobs(20), blobs(13)]
    trainer = trainer_class(pruning=pruning, datasets=datasets, models_path=str(tmp_path), cuda="cpu")
    for name, value in settings.items():
        setattr(trainer, name, value)
    trainer.load_dataloaders(batch, collate_fn)
    return trainer


def fit(trainer, net, epochs=3, reload=False, old_net=None, name="net", **parameters):
    return trainer.train(net, PARAMETERS | parameters, name, epochs, reload, old_net)


def zeros(net, include_classifier=False):
    weights = [w.parameter for w in prunable_weights(net, include_classifier)]
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)


class Counter(nn.Module):
    """Answers class 0, and notes what it was given."""

    def __init__(self, classes=4):
        super().__init__()
        self.classes = classes
        self.sizes = []

    def forward(self, inputs):
        self.sizes.append(len(inputs))
        return torch.eye(self.classes)[torch.zeros(len(inputs), dtype=torch.long)]
