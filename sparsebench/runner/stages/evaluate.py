"""Reading a split once with a compressed network: the validation split, by which is chosen, and the test set."""

import warnings
from typing import Any, Literal

from torch import nn

from sparsebench.errors import OutputsWarning
from sparsebench.runner.plan import Stage
from sparsebench.runner.stages.inputs import Evaluated, evaluated, seed_everything, unsteady
from sparsebench.runner.stages.workbench import Outcome, Workbench
from sparsebench.statistics.accuracy import wilson_interval
from sparsebench.store.results import EvaluateResult, pack_bits
from sparsebench.training.contract import TrainerLike

CHOSEN_ON_TEST = "Networks of this run are chosen by their test accuracy instead."


def run(stage: Stage, bench: Workbench) -> Outcome:
    """Return accuracy on a split, with the correctness of each sample where the trainer tells."""
    parent = bench.record("train", bench.record("compress", stage.parent).parent)
    trainer = bench.trainer_of(parent)
    seed_everything(parent.settings["seed"])
    network = bench.restored(stage.parent)
    if stage.settings["split"] == "val":
        found, split = _validated(trainer, network)
    else:
        found, split = evaluated(trainer, network), "test"
        if problem := unsteady(network, bench.example(parent.key)):
            warnings.warn(problem, OutputsWarning, stacklevel=2)
    flags = getattr(trainer, "correct", None)
    low, high = wilson_interval(round(found.accuracy * found.samples), found.samples)
    by_class = found.by_class
    result = EvaluateResult(
        split=split,
        samples=found.samples,
        top1=found.accuracy,
        top1_low=low,
        top1_high=high,
        top5=getattr(trainer, "top5", None),
        correct_bits=None if flags is None else pack_bits([bool(flag) for flag in flags]),
        largest_class_share=by_class and by_class.largest_share,
        balanced_accuracy=by_class and by_class.balanced_accuracy,
        worst_class_recall=by_class and by_class.worst_recall,
    )
    return Outcome(result=result)


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
