"""Pruning after a training step, torch.nn.utils.prune beside sparsebench, and the training step itself.

These are one after the other, and so show the order of magnitude; ``perf_pruning.py`` measures the ratios interleaved.
"""

import copy

import pytest
import torch
from prune_nets import CASES, TrainingStep, copy_prunable, prune_with_torch

from sparsebench.pruning import Magnitude, prune_net

THRESHOLD = 0.5


@pytest.fixture(scope="module", params=[case.name for case in CASES])
def trained(request):
    case = next(case for case in CASES if case.name == request.param)
    torch.manual_seed(0)
    step = TrainingStep(case.build(num_classes=10), case.batch_size)
    step()
    return case, step


@pytest.mark.parametrize("way", ["torch.nn.utils.prune", "sparsebench prune_net", "sparsebench Magnitude"])
def test_prune_step(benchmark, trained, way):
    case, step = trained
    benchmark.group = f"prune step {case.name}"
    prune = {
        "torch.nn.utils.prune": prune_with_torch,
        "sparsebench prune_net": prune_net,
        "sparsebench Magnitude": Magnitude().prune,
    }[way]
    net = copy.deepcopy(step.net)
    thresholds = iter(range(10**6))

    def setup():
        copy_prunable(step.net, net)
        return (net, THRESHOLD + 1e-4 * next(thresholds)), {}

    benchmark.pedantic(prune, setup=setup, rounds=5 if case.name == "ResNet-50" else 20, warmup_rounds=2)


def test_training_step(benchmark, trained):
    case, step = trained
    benchmark.group = f"prune step {case.name}"
    benchmark.extra_info["batch_size"] = case.batch_size
    benchmark.pedantic(step, rounds=5, warmup_rounds=1)
