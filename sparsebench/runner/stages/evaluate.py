"""Reading the test set once with a compressed network."""

import warnings

from sparsebench.errors import OutputsWarning
from sparsebench.runner.plan import Stage
from sparsebench.runner.stages.inputs import evaluated, seed_everything, unsteady
from sparsebench.runner.stages.workbench import Outcome, Workbench
from sparsebench.statistics.accuracy import wilson_interval
from sparsebench.store.results import EvaluateResult, pack_bits


def run(stage: Stage, bench: Workbench) -> Outcome:
    """Return accuracy on the test set, with the correctness of each sample where the trainer tells."""
    parent = bench.record("train", bench.record("compress", stage.parent).parent)
    trainer = bench.trainer_of(parent)
    seed_everything(parent.settings["seed"])
    network = bench.restored(stage.parent)
    accuracy, samples, by_class = evaluated(trainer, network)
    flags = getattr(trainer, "correct", None)
    correct = None if flags is None else [bool(flag) for flag in flags]
    if problem := unsteady(network, bench.example(parent.key)):
        warnings.warn(problem, OutputsWarning, stacklevel=2)
    low, high = wilson_interval(round(accuracy * samples), samples)
    result = EvaluateResult(
        samples=samples,
        top1=accuracy,
        top1_low=low,
        top1_high=high,
        top5=getattr(trainer, "top5", None),
        correct_bits=None if correct is None else pack_bits(correct),
        largest_class_share=by_class and by_class.largest_share,
        balanced_accuracy=by_class and by_class.balanced_accuracy,
        worst_class_recall=by_class and by_class.worst_recall,
    )
    return Outcome(result=result)
