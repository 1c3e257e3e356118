"""Reading a split once with a compressed network: the validation split, by which is chosen, and the test set."""

import math
import warnings
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from sparsebench.errors import OutputsWarning
from sparsebench.metrics import Measured, Metric, metric_of
from sparsebench.metrics.means import mean_of
from sparsebench.runner.plan import Stage
from sparsebench.runner.stages.inputs import Evaluated, evaluated, seed_everything, unsteady
from sparsebench.runner.stages.workbench import Outcome, Workbench
from sparsebench.statistics.accuracy import wilson_interval
from sparsebench.store.floats import pack_floats
from sparsebench.store.results import EvaluateResult, Score, pack_bits
from sparsebench.training.contract import TrainerLike

CHOSEN_ON_TEST = "Networks of this run are chosen by their test accuracy instead."

_SAME = 1e-4
"""Two ways of computing the mean of float32 values differ by less."""


def run(stage: Stage, bench: Workbench) -> Outcome:
    """Return accuracy or another metric on a split, with what it is of each sample where the trainer tells."""
    parent = bench.record("train", bench.record("compress", stage.parent).parent)
    trainer = bench.trainer_of(parent)
    metric = metric_of(stage.settings.get("metric"))
    if metric is not None:
        trainer.metric = metric  # type: ignore[attr-defined] # with its unit, which training does not need
    seed_everything(parent.settings["seed"])
    network = bench.restored(stage.parent)
    if stage.settings["split"] == "val":
        found, split = _validated(trainer, network)
    else:
        found, split = evaluated(trainer, network), "test"
        if problem := unsteady(network, bench.example(parent.key)):
            warnings.warn(problem, OutputsWarning, stacklevel=2)
    if metric is not None:
        return Outcome(result=_scored(trainer, metric, found, split))
    flags = getattr(trainer, "correct", None)
    low, high = wilson_interval(round(found.value * found.samples), found.samples)
    by_class = found.by_class
    result = EvaluateResult(
        split=split,
        samples=found.samples,
        top1=found.value,
        top1_low=low,
        top1_high=high,
        top5=getattr(trainer, "top5", None),
        correct_bits=None if flags is None else pack_bits([bool(flag) for flag in flags]),
        largest_class_share=by_class and by_class.largest_share,
        balanced_accuracy=by_class and by_class.balanced_accuracy,
        worst_class_recall=by_class and by_class.worst_recall,
    )
    return Outcome(result=result)


def _scored(
    trainer: TrainerLike, metric: Metric, found: Evaluated, split: Literal["test", "val", "other"]
) -> EvaluateResult:
    """Return a metric other than accuracy, with the interval that what the trainer left tells."""
    measured, values = getattr(trainer, "measured", None), getattr(trainer, "values", None)
    if not isinstance(measured, Measured) or measured.value != found.value:
        measured = None
        if values is not None:
            measured = mean_of(np.asarray(torch.as_tensor(values).double().cpu()), metric.scale.title)
    if measured is None or not math.isclose(measured.value, found.value, rel_tol=_SAME, abs_tol=_SAME):
        why = "left no values of its samples" if measured is None else "left values whose mean is another number"
        warnings.warn(
            f"The trainer {why}, so that the {metric.scale.title} has no interval: leave the metric of each sample, in "
            "order, in values.",
            OutputsWarning,
            stacklevel=2,
        )
        measured = Measured(value=found.value, samples=found.samples)
    if measured.note:
        warnings.warn(measured.note, OutputsWarning, stacklevel=2)
    replicates = measured.replicates
    score = Score(
        scale=metric.scale,
        value=found.value,
        low=None if measured.low is None else min(measured.low, found.value),
        high=None if measured.high is None else max(measured.high, found.value),
        values=None if measured.values is None else pack_floats(measured.values),
        replicates=None if replicates is None else pack_floats(replicates),
        resamples=0 if replicates is None else len(replicates),
        units=measured.units,
    )
    return EvaluateResult(split=split, samples=found.samples, score=score)


def _validated(trainer: TrainerLike, network: nn.Module) -> tuple[Evaluated, Literal["test", "val", "other"]]:
    """Return what a trainer finds on the validation split, and what it really read.

    No trial fails for want of it: where it cannot be had, what is returned is of the test set.
    """
    loaders = trainer.dataloader
    if "val" not in loaders:
        why = "The trainer has no dataloader['val']."
    elif _samples_of(loaders["val"]) is _samples_of(loaders["test"]):
        why = "dataloader['val'] reads the test set itself."
    else:
        try:
            found = evaluated(trainer, network, "val")
        except Exception as error:
            why = f"evaluate(net, False) failed on the validation split, lent as dataloader['test']: {error}."
        else:
            if found.as_lent:
                return found, "val"
            _warn("evaluate(net, False) read other samples than those of dataloader['test'], where validation was.")
            return found, "other"
    _warn(why)
    return evaluated(trainer, network), "test"


def _warn(why: str) -> None:
    warnings.warn(f"{why} {CHOSEN_ON_TEST}", OutputsWarning, stacklevel=3)


def _samples_of(loader: Any) -> Any:
    return getattr(loader, "dataset", loader)
