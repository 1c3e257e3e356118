"""A program as torch.export writes it, made once, for tests that change copies of it."""

import pytest
import torch
from torch import nn
from torch.export import Dim


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """A program with an open first size."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    program = torch.export.export(network, (torch.randn(2, 4),), dynamic_shapes=({0: Dim("batch", min=1)},))
    path = tmp_path_factory.mktemp("good") / "good.pt2"
    torch.export.save(program, path)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pt2"
