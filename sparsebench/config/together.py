"""What the sections of a config say together, and the word that stands for all names of an axis."""

from collections.abc import Sequence
from typing import Any

from pydantic import BeforeValidator

from sparsebench.config.sections import ModelConfig
from sparsebench.config.training import TrainConfig
from sparsebench.registry import Registry

ALL = "all"


def every(registry: Registry) -> BeforeValidator:
    """Return a validator that puts all names of ``registry`` in the place of ``all``."""

    def expand(value: Any) -> Any:
        return list(registry) if value in (ALL, [ALL], (ALL,)) else value

    return BeforeValidator(expand)


def weights_problem(models: Sequence[ModelConfig], train: TrainConfig) -> str | None:
    """Return why checkpoints and training do not fit together, as a sentence; None where they do."""
    if train.start_from == "scratch" and any(model.weights for model in models):
        return (
            "train.start_from = 'scratch' leaves the checkpoint in model.weights unused; "
            "choose 'dense' or 'previous', or give no weights."
        )
    if train.epochs:
        return None
    if untrained := [model.name for model in models if model.weights is None]:
        return (
            f"train.epochs = 0 trains nothing, and there is no trained network of {', '.join(untrained)}; give its "
            "checkpoint as model.weights, or train for at least 1 epoch."
        )
    if any(model.new_head for model in models):
        return (
            "train.epochs = 0 trains nothing, and new_head = true asks for a classifier that has to be trained; train "
            "for at least 1 epoch, or keep the classifier of the checkpoint."
        )
    return None
