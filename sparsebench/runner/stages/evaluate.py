"""Reading the test set once with a compressed network."""

from sparsebench.runner.plan import Stage
from sparsebench.runner.stages.inputs import seed_everything
from sparsebench.runner.stages.workbench import Outcome, Workbench
from sparsebench.statistics.accuracy import wilson_interval
from sparsebench.store.results import EvaluateResult, pack_bits
from sparsebench.training.contract import check_evaluated


def run(stage: Stage, bench: Workbench) -> Outcome:
    """Return accuracy on the test set, with the correctness of each sample where the trainer tells."""
    parent = bench.record("train", bench.record("compress", stage.parent).parent)
    trainer = bench.trainer_of(parent)
    seed_everything(parent.settings["seed"])
    accuracy, _ = check_evaluated(trainer.evaluate(net=bench.restored(stage.parent), quant_mode=False))
    flags = getattr(trainer, "correct", None)
    correct = None if flags is None else [bool(flag) for flag in flags]
    samples = bench.splits(parent.settings["data"]).samples["test"] if correct is None else len(correct)
    low, high = wilson_interval(round(accuracy * samples), samples)
    result = EvaluateResult(
        samples=samples,
        top1=accuracy,
        top1_low=low,
        top1_high=high,
        top5=getattr(trainer, "top5", None),
        correct_bits=None if correct is None else pack_bits(correct),
    )
    return Outcome(result=result)
