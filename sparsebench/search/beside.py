"""A finished sweep beside a search: what its points dominate on validation, and what they cost."""

from dataclasses import dataclass

from sparsebench.errors import SparsebenchError
from sparsebench.runner.facts import FP32
from sparsebench.search.finals import Finals, on_validation
from sparsebench.search.fronts import hypervolume
from sparsebench.search.judging import Judge
from sparsebench.search.plans import Format, stage_seconds
from sparsebench.store.records import Run


@dataclass(frozen=True)
class Beside:
    """A sweep: its name, the seconds of its stages but timing and the test, its hypervolume and its points."""

    name: str
    seconds: float
    volume: float
    points: int


def beside(run: Run, judge: Judge, model: str, data: str) -> Beside:
    """Return what a sweep of the same network and data has come to, by the measure of a search.

    Raises:
        SparsebenchError: where the sweep has no points of that network that were evaluated on validation.
    """
    trials = [t for t in run.trials if (t.trial.model, t.trial.data) == (model, data) and t.validated]
    if not any(trial.trial.scheme == FP32 and not trial.trial.threshold for trial in trials):
        raise SparsebenchError(
            f"{run.record.name} has no dense fp32 network of {model} on {data} with a value on validation, so that it "
            "cannot stand beside the search; name a sweep of the same network and data."
        )
    finals = Finals(judge, on_validation(trials), _any)
    values = [value for point in finals.candidates if (value := finals.values(point)) is not None]
    tests = {trial.trial.evaluate for trial in trials}
    seconds = sum(value for key, value in stage_seconds(trials).items() if key not in tests)
    return Beside(run.record.name, seconds, hypervolume(values, judge.reference), len(values))


def _any(_: Format) -> bool:
    return True
