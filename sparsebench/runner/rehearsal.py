"""One real batch of each split goes the whole way before any long work: training, validation and evaluation."""

import copy
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from sparsebench.data import Splits
from sparsebench.errors import NoEffectWarning, NoValueError, OutputsWarning, SparsebenchError, TrainingError, reason
from sparsebench.models import check_outputs
from sparsebench.models.as_built import is_lazy, materialise, unknown_layers
from sparsebench.runner.stages import Workbench
from sparsebench.runner.stages.inputs import SAME, few, first_call, mixing, seed_everything, unsteady
from sparsebench.runner.stages.train import train_by
from sparsebench.store.disk import raise_if_full
from sparsebench.tensors import cloned, scores_in
from sparsebench.training.contract import TrainerLike, apply_settings, check_evaluated, metric_of
from sparsebench.trust import own_of_settings
from sparsebench.user_code import hard_exits_raised, own_code

PREFIX = "sparsebench-check-"
"""With this begins the name of the folder in which a rehearsal saves what it trained."""


_BATCHES = 8
"""Batches of which a pace is told, where one of them is quick."""

_TIMES = 4
"""How often they are, where that is quick."""

_QUICK = 2.0
"""Seconds of training and evaluating one batch up to which more of them are timed."""


class Pace(NamedTuple):
    """How fast a network is trained and evaluated here, in seconds.

    Attributes:
        step: of one training step.
        batch: of one batch that is evaluated.
        start: of what a training takes beside its batches.
        batches: how many each split has.
    """

    step: float
    batch: float
    start: float
    batches: Mapping[str, int]


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
        self._train, self._splits, self._seed = train, splits, seed
        self._trains = settings["train"]["epochs"] > 0
        self._bench, self._settings, self._folder = bench, settings, Path(folder)
        self._own = own_of_settings(settings)
        seed_everything(seed)
        with self._in_words("The trainer cannot be made of these data"):
            self._trainer = self._built(1)

    def prepare(self, network: nn.Module) -> None:
        """Give a network's lazy layers their sizes, and look at its outputs for a few samples.

        Raises:
            SparsebenchError: where it does not take them, or has too few outputs.

        Warns:
            NoEffectWarning: where it keeps layers in a list of Python's.
        """
        with self._in_words("No batch could be read for the network"):
            self._arguments = first_call(self._trainer, network, self._seed)
        if told := unknown_layers(network):
            warnings.warn(told, NoEffectWarning, stacklevel=2)
        if is_lazy(network):
            materialise(network, self._arguments)
        metric = metric_of(self._trainer)
        classes = self._splits.classes if metric is None or metric.of_classes else 0
        check_outputs(network, few(self._arguments, 2), classes)

    def run(self, network: nn.Module) -> None:
        """Train a network for a step, and evaluate it.

        Raises:
            SparsebenchError: where that fails; the text says why.

        Warns:
            OutputsWarning: where two evaluations of the same samples differ, answers depend on the batch, or are
                probabilities where the loss takes logits.
        """
        seed_everything(self._seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The stages themselves warn, and their records say so.
            with self._in_words("One batch could not be trained"):
                trained = train_by(self._trainer, network, self._train) if self._trains else network.eval()
            # A batch alone may have no value of a metric, as where it lacks a class.
            with self._in_words("One batch could not be evaluated"), suppress(NoValueError):
                returned = self._trainer.evaluate(net=trained, quant_mode=False)
                check_evaluated(returned, metric_of(self._trainer), calibrating=True)
        found = unsteady(trained, self._arguments), mixing(trained, self._arguments), self._probabilities(trained)
        for problem in filter(None, found):
            warnings.warn(problem, OutputsWarning, stacklevel=2)

    def pace(self, network: nn.Module) -> Pace:
        """Return how fast a network is that has been trained for a step before; it is left as it is.

        Raises:
            SparsebenchError: where it cannot be trained or evaluated.
        """
        size = self._train["batch_size"]
        training, evaluation = self._seconds(self._trainer, network)
        step, batch = training, evaluation
        if training + evaluation < _QUICK:
            more_training, more_evaluation = self._seconds(self._built(_BATCHES), network)
            further = min(_BATCHES, len(self._splits.train) // size) - 1  # type: ignore[arg-type] # map-style
            step = max(0.0, more_training - training) / further if further else training
            further = min(_BATCHES, math.ceil(len(self._splits.test) / size)) - 1  # type: ignore[arg-type]
            batch = max(0.0, more_evaluation - evaluation) / further if further else evaluation
        batches = {name: math.ceil(samples / size) for name, samples in self._splits.samples.items()}
        batches["train"] = self._splits.samples["train"] // size  # The last one is dropped unless it is whole.
        return Pace(step, batch, max(0.0, training - step - batch), batches)

    def _seconds(self, trainer: TrainerLike, network: nn.Module) -> tuple[float, float]:
        """Return how long a trainer takes for an epoch of its data, and for evaluating a network on them.

        What else the machine does only adds to it: of several times, where they are short, the least counts.
        """
        seed_everything(self._seed)
        found: list[tuple[float, float]] = []
        with warnings.catch_warnings(), self._in_words("One batch could not be timed"):
            warnings.simplefilter("ignore")
            while not found or (len(found) < _TIMES and sum(map(sum, found)) < _QUICK / 2):
                began = time.perf_counter()
                trained = train_by(trainer, copy.deepcopy(network), self._train) if self._trains else network
                between = time.perf_counter()
                with suppress(NoValueError):
                    trainer.evaluate(net=trained, quant_mode=False)
                found.append((between - began, time.perf_counter() - between))
        training, evaluation = (min(times) for times in zip(*found, strict=True))
        return training, evaluation

    def _built(self, batches: int) -> TrainerLike:
        """Return a trainer with so many batches of the training and the test split, and one of validation."""
        size, splits = self._train["batch_size"], self._splits
        few_samples = replace(
            splits,
            train=_spread(splits.train, batches * size),
            val=_spread(splits.val, size),
            test=_spread(splits.test, batches * size),
        )
        dense = {"threshold": 0.0, "pruner": None, "prune": None}
        settings = {**self._settings, "train": self._train, **dense}
        trainer, _ = self._bench.trainer(settings, self._folder, splits=few_samples)
        apply_settings(trainer, {"compile": False, "checkpoint_seconds": None, "on_epoch": None})
        return trainer

    def _probabilities(self, trained: nn.Module) -> str | None:
        """Return that a network gives probabilities to a loss of logits, as a sentence; None where it does not."""
        if not isinstance(getattr(self._trainer, "criterion", None), nn.CrossEntropyLoss):
            return None
        with torch.inference_mode():
            scores = scores_in(trained(*cloned(few(self._arguments))))
        sums = scores.sum(-1) if scores.dim() == 2 else scores.new_zeros(1)
        if bool((scores < 0).any()) or not torch.allclose(sums, torch.ones_like(sums), atol=SAME):
            return None
        return (
            f"{type(trained).__name__} returns probabilities, and CrossEntropyLoss takes logits, of which it makes "
            "probabilities itself: training learns little by them. Leave the softmax at its end out."
        )

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
            why = reason(error)
            if not why.startswith(f"{type(error).__name__}: "):  # As what a worker process raised does.
                why = f"{type(error).__name__}: {why}"
            raise TrainingError(f"{problem}: {why} Mend that, or leave this check out with --no-check.") from error


def _spread(dataset: Dataset[Any], samples: int) -> Dataset[Any]:
    """Return so many samples of a split, spread over it: in many data sets the classes stand one after another."""
    size = len(dataset)  # type: ignore[arg-type] # map-style, as load_splits has seen
    return Subset(dataset, range(0, size, max(1, size // samples))[:samples])
