"""Pruning one layer at a time of a dense network, without training, and reading the validation split."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import torch

from sparsebench.metrics import metric_of
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
    metric = metric_of(stage.settings.get("metric"))
    splits = bench.splits(parent.settings["data"], metric)
    trainer = bench.trainer_of(parent, splits=replace(splits, test=splits.val))
    network = bench.trained(parent, to_train_on=True)

    def value() -> dict[str, Any]:
        return {"accuracy" if metric is None else "metric": evaluated(trainer, network).value}

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
            points.append(SensitivityPoint(**about, threshold=threshold, **value()))
        with torch.no_grad():
            for parameter, values in zip(held, before, strict=True):
                parameter.copy_(values)
    of_dense: dict[str, Any] = {"dense_accuracy": dense}
    if metric is not None:
        of_dense = {"dense_metric": dense, "scale": metric.scale}
    result = SensitivityResult(samples=samples, points=tuple(points), **of_dense)
    return Outcome(result=result)
