"""Data of tasks that are no classification by one class a sample, for the configs beside this file.

Each loader returns the three splits and the number of outputs of a network, or of classes where labels are classes.
"""

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, make_multilabel_classification
from torch import nn
from torch.utils.data import TensorDataset, random_split


def diabetes():
    """442 patients: ten measurements, and a score from 25 to 346 of how far the disease went in a year."""
    inputs, scores = load_diabetes(return_X_y=True)
    # Measurements come with a standard deviation of 1 / √442.
    return _splits(torch.tensor(inputs).float() * len(inputs) ** 0.5, torch.tensor(scores).float()), 1


class Estimator(nn.Module):
    """Estimates one number; it begins at the mean of the scores, from which training need not start anew."""

    def __init__(self, num_classes=1, input_shape=(10,), mean=152.0, spread=77.0):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(input_shape[0], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.out = nn.Linear(64, num_classes)
        nn.init.constant_(self.out.bias, mean)
        with torch.no_grad():
            self.out.weight.mul_(spread)

    def forward(self, inputs):
        return self.out(self.hidden(inputs))


def tumours():
    """569 tumours: thirty measurements of cells, and whether the tumour is benign, of which one logit tells."""
    inputs, benign = load_breast_cancer(return_X_y=True)
    inputs = torch.tensor(inputs).float()
    return _splits((inputs - inputs.mean(0)) / inputs.std(0), torch.tensor(benign)), 2


def topics():
    """1,500 texts as counts of twenty words, and which of five topics each has: none, one or several."""
    inputs, has = make_multilabel_classification(1500, n_features=20, n_classes=5, random_state=0)
    inputs = torch.tensor(inputs).float()
    return _splits((inputs - inputs.mean(0)) / inputs.std(0), torch.tensor(has).float()), 5


def _splits(inputs, targets):
    data = TensorDataset(inputs, targets)
    return random_split(data, [0.5, 0.2, 0.3], generator=torch.Generator().manual_seed(0))
