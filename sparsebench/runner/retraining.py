"""Training a network further inside a scheme: by its own trainer, with its zeros kept."""

import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from sparsebench.pruning import Masks
from sparsebench.quantization import settling
from sparsebench.training.contract import TrainerLike, check_trained, steps_of_epoch

_NAME = "network"

BuildTrainer = Callable[[str], TrainerLike]
"""Builds the trainer of a network, its data loaders ready and its pruning off, for a folder to save networks in."""


class Retraining:
    """Trains a network that a scheme prepared; the epoch is chosen on validation data, as the trainer does.

    Args:
        build_trainer: builds the trainer.
        train: the settings of the training that the network comes from; its decay of the learning rate is used.
        epochs: passes over the training split.
        learning_rate: rate at the start.
        zeros: the zeros of the network before it was prepared; they are kept whatever the trainer does.

    Attributes:
        epochs: epochs trained so far.
        seconds: time spent on them.
    """

    def __init__(
        self, build_trainer: BuildTrainer, train: Mapping[str, Any], epochs: int, learning_rate: float, zeros: Masks
    ) -> None:
        self._build_trainer, self._zeros = build_trainer, zeros
        self._asked = epochs
        self._parameters = {
            "learning_rate": learning_rate,
            "learning_step": train["learning_step"],
            "learning_gamma": train["learning_gamma"],
            "prune_threshold": 0.0,
        }
        self.epochs = 0
        self.seconds = 0.0

    def __call__(self, prepared: nn.Module) -> nn.Module:
        """Train ``prepared``, in place or not as the trainer does it, and return the network on the CPU.

        Raises:
            ContractError: where the trainer returns no network.
            PruningError: where it returns one that has not the weights whose zeros are kept.
        """
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="sparsebench-") as folder:
            trainer = self._build_trainer(folder)
            steps = self._asked * steps_of_epoch(trainer)
            with self._zeros.kept(prepared), settling(prepared, steps):
                returned = trainer.train(
                    net=prepared,
                    parameters=self._parameters,
                    name=_NAME,
                    epochs=self._asked,
                    reload=False,
                    old_net=None,
                )
        trained = check_trained(returned).cpu().eval()
        self._zeros.apply(trained)
        self.epochs += self._asked
        self.seconds += time.perf_counter() - started
        return trained
