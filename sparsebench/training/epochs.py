"""The epochs of a training, and the best of them."""

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    Attributes:
        epoch: its number, from 1.
        train_loss: mean loss of its training batches.
        val_loss: mean loss of all validation samples after it.
        val_accuracy: fraction of the validation samples classified rightly after it.
        threshold: fraction of the prunable weights that is zero after it, or removed with its channel.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    threshold: float


class BestEpoch:
    """Keeps the weights of the best epoch: highest validation accuracy, then lower validation loss, then the later.

    Attributes:
        number: of the best epoch so far; None before any was offered.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._rank: tuple[float, float] | None = None
        self._weights: dict[str, Any] = {}

    def offer(self, epoch: Epoch, model: nn.Module, last: bool) -> None:
        """Take an epoch into account, after which ``model`` stands as it is; the last one's weights need no copy."""
        rank = (epoch.val_accuracy, -epoch.val_loss)
        if self._rank is None or rank >= self._rank:
            self._rank, self.number = rank, epoch.epoch
            self._weights = {} if last else copy.deepcopy(model.state_dict())

    def restore(self, model: nn.Module) -> None:
        """Give ``model``, as it stands after the last epoch, the weights of the best."""
        if self._weights:
            model.load_state_dict(self._weights)

    def state(self) -> dict[str, Any]:
        """Return what is known so far, as tensors and numbers."""
        return {"number": self.number, "rank": self._rank, "weights": self._weights}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` returned."""
        self.number, self._rank, self._weights = state["number"], state["rank"], state["weights"]
