"""The network of an operating point that would ship, and by which samples networks are chosen.

A choice is made on the validation split, so that the test set can say how good what was chosen really is.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from sparsebench.points.baselines import SeedResult
from sparsebench.points.drops import Drop
from sparsebench.store.records import TrialResult

Split = Literal["val", "test"]


def chosen_on(trials: Iterable[TrialResult]) -> Split:
    """Return the split by which is chosen among trials: validation where all that were evaluated have it."""
    evaluated = [trial for trial in trials if trial.evaluated]
    return "val" if evaluated and all(trial.validated for trial in evaluated) else "test"


def seed_to_ship(seeds: Sequence[SeedResult]) -> SeedResult | None:
    """Return the seed with the best accuracy, or metric, in validation, of equals the first; not by the test set.

    It is that of the compressed network, or, where a run has none of it, that of the network as it was trained.
    """
    done = [seed for seed in seeds if seed.trial.evaluated]
    split = chosen_on(seed.trial for seed in done)
    return max(done, key=lambda seed: merit_in_validation(seed.trial, split), default=None)


def merit_in_validation(trial: TrialResult, split: Split) -> float:
    """Return the accuracy by which a seed is chosen, or another metric, negative where less is better; −∞ for none."""
    found: float | None = None
    if split == "val":
        found = trial.validated.value if trial.validated else None
    elif trial.trained:
        found = trial.trained.val_accuracy if trial.trained.val_metric is None else trial.trained.val_metric
    scored = trial.validated or trial.evaluated
    if found is None or scored is None or not math.isfinite(found):
        return -math.inf
    return scored.scale.merit(found)


def drop_on(seed: SeedResult, split: Split) -> Drop | None:
    """Return what the network of a seed loses on a split."""
    return seed.val_drop if split == "val" else seed.drop
