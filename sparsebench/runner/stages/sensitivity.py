"""Pruning one layer at a time of a dense network, without training, and reading the validation split."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import torch

from sparsebench.pruning import PrunableWeight, all_weights, zero_smallest_of
from sparsebench.runner.plan import Stage
from sparsebench.runner.stages.inputs import evaluated
from sparsebench.runner.stages.workbench import Outcome, Workbench
from sparsebench.store.results import SensitivityPoint, SensitivityResult


def run(stage: Stage, bench: Workbench) -> Outcome:
    """Return the accuracy at each threshold of each layer."""
    parent = bench.record("train", stage.parent)
    # The trainer evaluates its third dataset. Here it is given the validation split for that: which layer is pruned
    # how far is a choice, and choices are not made on test data.
    splits = bench.splits(parent.settings["data"])
    trainer = bench.trainer_of(parent, splits=replace(splits, test=splits.val))
    network = bench.trained(parent, to_train_on=True)

    def accuracy() -> float:
        return evaluated(trainer, network).accuracy

    dense, samples, *_ = evaluated(trainer, network)
    points = []
    layers: dict[str, list[PrunableWeight]] = defaultdict(list)
    for weight in all_weights(network):
        layers[weight.layer].append(weight)
    for layer, weights in layers.items():
        count = sum(weight.parameter.numel() for weight in weights)
        # All of the layer: where weights are computed, zeros may lie in several of its parameters.
        held = list(network.get_submodule(layer).parameters())
        before = [parameter.detach().clone() for parameter in held]
        about: dict[str, Any] = {"layer": layer, "kind": weights[0].kind, "weights": count}
        for threshold in sorted(stage.settings["thresholds"]):
            zero_smallest_of(weights, round(threshold * count))
            points.append(SensitivityPoint(**about, threshold=threshold, accuracy=accuracy()))
        with torch.no_grad():
            for parameter, values in zip(held, before, strict=True):
                parameter.copy_(values)
    result = SensitivityResult(samples=samples, dense_accuracy=dense, points=tuple(points))
    return Outcome(result=result)
