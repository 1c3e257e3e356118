"""What a trainer tells of its epochs, as far as it can be recorded."""

import math
import warnings
from typing import Any

from sparsebench.errors import NoEffectWarning
from sparsebench.store.results import EpochRecord

_NUMBERS = ("train_loss", "val_loss", "val_accuracy", "threshold")
_FRACTIONS = ("val_accuracy", "threshold")


def history_of(trainer: object) -> tuple[EpochRecord, ...]:
    """Return the epochs that a trainer lists in ``history``; numbers that are none, or out of range, are left out.

    Warns:
        NoEffectWarning: where an epoch has not the numbers that a record keeps; no epoch is kept then.
    """
    try:
        return tuple(_epoch(epoch) for epoch in getattr(trainer, "history", None) or ())
    except (TypeError, ValueError, AttributeError) as error:
        warnings.warn(
            f"The history of {type(trainer).__name__} could not be recorded ({error}): each epoch needs epoch, "
            f"{', '.join(_NUMBERS)}.",
            NoEffectWarning,
            stacklevel=2,
        )
        return ()


def best_epoch_of(trainer: object, history: tuple[EpochRecord, ...]) -> EpochRecord | None:
    """Return the epoch whose network a trainer kept, None where it does not tell."""
    best = getattr(trainer, "best_epoch", None)
    return next((epoch for epoch in history if best is not None and epoch.epoch == best), None)


def _epoch(epoch: Any) -> EpochRecord:
    told = {name: _number(name, getattr(epoch, name)) for name in _NUMBERS}
    told["val_metric"] = _number("val_metric", getattr(epoch, "val_metric", None))
    number = int(epoch.epoch)
    if number < 0:
        raise ValueError(f"epoch {number}")
    return EpochRecord(epoch=number, **told)


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    within = 0 <= number <= 1 if name in _FRACTIONS else math.isfinite(number) and abs(number) <= 1e30
    return number if within else None
