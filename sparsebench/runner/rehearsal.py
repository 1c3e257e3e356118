"""One real batch of each split goes the whole way before any long work: training, validation and evaluation."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset, Subset

from sparsebench.data import Splits
from sparsebench.errors import OutputsWarning, SparsebenchError, TrainingError, reason
from sparsebench.models import check_outputs
from sparsebench.models.as_built import is_lazy, materialise
from sparsebench.runner.stages import Workbench
from sparsebench.runner.stages.inputs import few, first_call, seed_everything, unsteady
from sparsebench.runner.stages.train import train_by
from sparsebench.store.disk import raise_if_full
from sparsebench.training.contract import apply_settings, check_evaluated
from sparsebench.trust import own_of
from sparsebench.user_code import hard_exits_raised, own_code

PREFIX = "sparsebench-check-"
"""With this begins the name of the folder in which a rehearsal saves what it trained."""


class Rehearsal:
    """A trainer with one batch of each split, spread over it, and everything else as it will be.

    Args:
        bench: makes the trainer.
        settings: of a dense training: ``model``, ``data`` and ``train`` as stages have them.
        splits: the data.
        seed: of all random numbers.
        folder: where the trainer may save.

    Raises:
        SparsebenchError: where the trainer cannot be made of these data.
    """

    def __init__(self, bench: Workbench, settings: Mapping[str, Any], splits: Splits, seed: int, folder: str) -> None:
        # One batch has one step. Compiling takes longer than all else and changes what no step does.
        train = settings["train"] | {"steps_per_epoch": None, "epochs": 1}
        size = train["batch_size"]
        one = replace(
            splits, train=_spread(splits.train, size), val=_spread(splits.val, size), test=_spread(splits.test, size)
        )
        self._train, self._splits, self._seed = train, splits, seed
        self._folder = Path(folder)
        self._own = own_of(train["trainer"], [settings["model"]["name"]], [settings["data"]])
        seed_everything(seed)
        with self._in_words("The trainer cannot be made of these data"):
            dense = {"threshold": 0.0, "pruner": None, "prune": None}
            self._trainer, _ = bench.trainer({**settings, "train": train, **dense}, Path(folder), splits=one)
            apply_settings(self._trainer, {"compile": False, "checkpoint_seconds": None, "on_epoch": None})

    def prepare(self, network: nn.Module) -> None:
        """Give a network's lazy layers their sizes, and look at its outputs for a few samples.

        Raises:
            SparsebenchError: where it does not take them, or has too few outputs.
        """
        with self._in_words("No batch could be read for the network"):
            self._arguments = first_call(self._trainer, network, self._seed)
        if is_lazy(network):
            materialise(network, self._arguments)
        check_outputs(network, few(self._arguments, 2), self._splits.classes)

    def run(self, network: nn.Module) -> None:
        """Train a network for a step, and evaluate it.

        Raises:
            SparsebenchError: where that fails; the text says why.

        Warns:
            OutputsWarning: where two evaluations of the same samples differ.
        """
        seed_everything(self._seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The stages themselves warn, and their records say so.
            with self._in_words("One batch could not be trained"):
                trained = train_by(self._trainer, network, self._train)
            with self._in_words("One batch could not be evaluated"):
                check_evaluated(self._trainer.evaluate(net=trained, quant_mode=False))
        if problem := unsteady(trained, self._arguments):
            warnings.warn(problem, OutputsWarning, stacklevel=2)

    @contextmanager
    def _in_words(self, problem: str) -> Iterator[None]:
        """Turn what a network, a trainer or data raise into sentences; of the user's own, with its place."""
        try:
            with own_code(*self._own), hard_exits_raised():
                yield
        except SparsebenchError as error:
            if isinstance(error.__cause__, OSError):
                raise_if_full(error.__cause__, self._folder)
            raise
        except Exception as error:
            raise_if_full(error, self._folder)
            why = f"{type(error).__name__}: {reason(error)}"
            raise TrainingError(f"{problem}: {why} Mend that, or leave this check out with --no-check.") from error


def _spread(dataset: Dataset[Any], samples: int) -> Dataset[Any]:
    """Return so many samples of a split, spread over it: in many data sets the classes stand one after another."""
    size = len(dataset)  # type: ignore[arg-type] # map-style, as load_splits has seen
    return Subset(dataset, range(0, size, max(1, size // samples))[:samples])
