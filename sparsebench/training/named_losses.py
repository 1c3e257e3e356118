"""Losses by name, for ``train.criterion``, and those of a user's own."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from sparsebench.errors import TrainingError
from sparsebench.metrics import Metric
from sparsebench.registry import LOSSES

cross_entropy = nn.CrossEntropyLoss
bce = nn.BCEWithLogitsLoss
mse = nn.MSELoss
l1 = nn.L1Loss
huber = nn.HuberLoss


def build_criterion(name: str) -> Callable[[Any, Tensor], Tensor]:
    """Return a loss by its name, or what ``package.module:callable`` is: a class of losses, or a function.

    Raises:
        UnknownNameError: where no such loss is known.
        TrainingError: where it cannot be called with outputs and targets.
    """
    found = LOSSES.load(name)
    if inspect.isclass(found):
        try:
            found = found()
        except TypeError as error:
            raise TrainingError(
                f"criterion {name!r} cannot be built without arguments: {error}. Give a function that builds it, or "
                "the loss itself."
            ) from error
    if not callable(found):
        raise TrainingError(f"criterion {name!r} is {type(found).__name__}, which cannot be called; give a function.")
    criterion: Callable[[Any, Tensor], Tensor] = found
    return criterion


def criterion_of(
    trainer: object, train: Mapping[str, Any], metric: Metric | None
) -> Callable[[Any, Tensor], Tensor] | None:
    """Return the loss that a trainer is set to: the one that a config names, or what goes with its metric.

    None where its own stays: it has one that is not what every trainer begins with, or the metric is one of classes.
    """
    named = train.get("criterion")
    if named is not None:
        return build_criterion(named)
    own = getattr(trainer, "criterion", None)
    if metric is None or type(own) is not nn.CrossEntropyLoss or metric.criterion == "cross_entropy":
        return None
    return build_criterion(metric.criterion)


def said_of(trainer: object, train: Mapping[str, Any], metric: Metric | None) -> str | None:
    """Return that a loss was chosen by the metric, as a sentence; None where it was named, or is the usual one."""
    if metric is None or train.get("criterion") is not None or metric.criterion == "cross_entropy":
        return None
    if type(getattr(trainer, "criterion", None)) is not type(build_criterion(metric.criterion)):
        return None
    return (
        f"No criterion is named: the metric is {metric.scale.metric}, so the loss is {metric.criterion}. Set "
        "train.criterion for another."
    )
