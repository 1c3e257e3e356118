"""What a trainer feeds its networks: the first call, the example that is kept of it, and all for calibration."""

import io
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from sparsebench.backends.checks import mixes_samples
from sparsebench.errors import ContractError, DataError, ModelError, NoEffectWarning
from sparsebench.runner.stages.by_class import ByClass, Predictions
from sparsebench.runner.stages.reading import answers_in, samples_of
from sparsebench.tensors import arguments_of, batch_of, cloned, mapped, moved, read_tensors, tensors_in
from sparsebench.training.contract import TrainerLike, apply_settings, check_evaluated, metric_of

EXAMPLE = "example.pt"

EXAMPLE_SAMPLES = 8
"""Training samples that are kept with a trained network, for what follows its graph or times it."""

SAME = 1e-3
"""Outputs that differ by less than this share of the largest are the same but for rounding."""

Found = TypeVar("Found")


class Evaluated(NamedTuple):
    """What an evaluation found.

    Attributes:
        value: accuracy, or another metric, as the trainer gave it.
        samples: how many were read for it.
        by_class: what it tells of classes.
        as_lent: whether what was read came from the loader that the trainer was lent.
    """

    value: float
    samples: int
    by_class: ByClass | None
    as_lent: bool


def evaluated(trainer: TrainerLike, network: nn.Module, split: str = "test") -> Evaluated:
    """Let a trainer evaluate a network on a split; return its accuracy or metric, and how many samples it read for it.

    A trainer evaluates what it has as ``dataloader["test"]``: it is lent the loader of the split in that place.

    What is read is what went through the network: a loader may drop its last batch. A trainer that runs its samples
    through it several times has read those that its loader gave.

    Raises:
        ContractError: where it does not keep the contract, or leaves results of another number of samples.
    """
    fed, given, predictions = [0], [0], Predictions()

    def count(_: nn.Module, __: Any, outputs: Any) -> None:
        fed[0] += answers_in(outputs) or 0
        predictions.outputs(outputs)

    loaders = trainer.dataloader
    hook = network.register_forward_hook(count)
    trainer.dataloader = {**loaders, "test": _Counted(loaders[split], given, predictions)}
    try:
        value, _ = check_evaluated(trainer.evaluate(net=network, quant_mode=False), metric_of(trainer))
    finally:
        hook.remove()
        trainer.dataloader = loaders
    read = min(fed[0], given[0]) if given[0] and fed[0] else fed[0] or given[0]
    read -= getattr(trainer, "ignored", 0)
    if not read:
        raise ContractError(
            "The trainer does not keep the contract:",
            ["evaluate(net, quant_mode=False) ran no batch through net; feed it the batches of dataloader['test']."],
        )
    name = "correct" if metric_of(trainer) is None else "values"
    left = getattr(trainer, name, None)
    if left is not None and len(left) != read:
        raise ContractError(
            "The trainer does not keep the contract:",
            [
                f"evaluate left {len(left):,} entries in {name}, and read {read:,} samples; leave one for each "
                "sample that was read, in their order, or leave it None."
            ],
        )
    by_class = predictions.by_class(value) if metric_of(trainer) is None else None
    return Evaluated(value, read, by_class, given[0] > 0)


class _Counted:
    """A loader that counts the samples it gives, and keeps their labels."""

    def __init__(self, loader: Any, given: list[int], predictions: Predictions) -> None:
        self._loader, self._given, self._predictions = loader, given, predictions

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            self._given[0] += samples_of(batch)
            self._predictions.labels(batch[-1] if isinstance(batch, tuple | list) and batch else None)
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class _Enough(BaseException):
    """Ends a calibration after its first call; no trainer that catches exceptions holds it up."""


def seed_everything(seed: int) -> None:
    """Seed all random number generators; called before a network or a trainer is built."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def read_training_batches(trainer: TrainerLike, network: nn.Module, seed: int) -> None:
    """Let a trainer feed training batches to a network, of the same seed and data the same.

    Raises:
        ContractError: where it feeds none.
    """
    calls: list[bool] = []
    hook = network.register_forward_pre_hook(lambda *_: calls.append(True))
    seed_everything(seed)
    try:
        check_evaluated(trainer.evaluate(net=network, quant_mode=True), metric_of(trainer), calibrating=True)
    finally:
        hook.remove()
    if not calls:
        raise ContractError(
            "The trainer does not keep the contract:",
            ["evaluate(net, quant_mode=True) ran no batch through net; feed it batches of dataloader['train']."],
        )


def first_call(trainer: TrainerLike, network: nn.Module, seed: int) -> tuple[Any, ...]:
    """Return the positional arguments, on the CPU, with which a trainer first calls a network that is calibrated.

    They are what everything else feeds the network too: in the dtype and form that the trainer makes of its batches. Of
    a trainer that cannot calibrate, which fp32 does not need, they are the inputs of its first training batch.

    Raises:
        ContractError: where it has none.
    """
    calls: list[tuple[Any, ...]] = []

    def take(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        given = arguments if not keywords else (*arguments, *arguments_of(network, keywords))
        calls.append(cloned(given, "cpu"))
        raise _Enough

    apply_settings(trainer, {"calibration_batches": 1})
    hook = network.register_forward_pre_hook(take, with_kwargs=True, prepend=True)
    try:
        read_training_batches(trainer, network, seed)
    except _Enough:
        return calls[0]
    except DataError:
        raise
    except Exception:  # Whoever calibrates is told.
        return _loaded(trainer, network, seed)
    finally:
        hook.remove()
    return calls[0]


def _loaded(trainer: TrainerLike, network: nn.Module, seed: int) -> tuple[Any, ...]:
    seed_everything(seed)
    for inputs, _ in cast("Mapping[str, Any]", trainer.dataloader)["train"]:
        return arguments_of(network, moved(inputs, "cpu", getattr(trainer, "dtype", torch.float)))
    raise ContractError(
        "The trainer does not keep the contract:",
        ["dataloader['train'] has no batch; a batch must not be larger than the training split."],
    )


def few(arguments: tuple[Any, ...], samples: int = EXAMPLE_SAMPLES) -> tuple[Any, ...]:
    """Return the arguments of a call with a few samples; as they are where they cannot be cut."""
    try:
        batch: tuple[Any, ...] = batch_of(arguments, samples)
    except DataError:
        return arguments
    return batch


def written_example(arguments: tuple[Any, ...]) -> bytes | None:
    """Return an example as it is saved, None where it has objects that could not be read back safely."""
    written = io.BytesIO()
    torch.save(few(arguments), written)
    try:
        read_example(written.getvalue())
    except ModelError:
        return None
    return written.getvalue()


def read_example(content: bytes) -> tuple[Any, ...]:
    """Return the arguments of a call that were saved; of classes, packed sequences alone are allowed.

    Raises:
        ModelError: where there is anything else in it.
    """
    found = read_tensors(content, f"The artifact {EXAMPLE}", [PackedSequence])
    # Older runs saved the only argument itself.
    return found if type(found) is tuple else (found,)


def unsteady(network: nn.Module, arguments: tuple[Any, ...]) -> str | None:
    """Return that a network in evaluation mode answers otherwise each time, as a sentence; None where it does not."""
    with torch.inference_mode():
        first, second = (list(tensors_in(network(*cloned(arguments)))) for _ in range(2))
    for before, after in zip(first, second, strict=True):
        if before.shape == after.shape and before.numel() and before.is_floating_point():
            gap, largest = float((before - after).abs().max()), float(before.abs().max())
            if gap > SAME * largest:
                return (
                    f"Two evaluations of the same samples differ by up to {gap:.3g}, of {largest:.3g} at most: "
                    f"{type(network).__name__} draws random numbers in evaluation, so that its accuracy is one of "
                    "many. A dropout called as a function needs training=self.training."
                )
    return None


def mixing(network: nn.Module, arguments: tuple[Any, ...]) -> str | None:
    """Return that a network's answers depend on what else is in a batch, as a sentence; None where they do not."""
    if not mixes_samples(network, few(arguments)):
        return None
    return (
        f"{type(network).__name__} answers a sample otherwise where others are in its batch, as a batch normalisation "
        "without running statistics does: its accuracy is that of batches of this size and order, and a latency of one "
        "sample is that of another function."
    )


def if_measurable(
    what: str, measure: Callable[[nn.Module, tuple[Any, ...]], Found], network: nn.Module, arguments: tuple[Any, ...]
) -> Found | None:
    """Return what is measured of a network and one sample; where that fails, None, and the record says so."""
    try:
        # Sequences differ in length, and so in what they cost: their mean over a batch is counted.
        return measure(network, arguments if _has_sequences(arguments) else batch_of(arguments, 1))
    except Exception as error:
        text = f"{what} could not be measured: {type(error).__name__}: {error}"
        warnings.warn(text, NoEffectWarning, stacklevel=2)
        return None


def _has_sequences(arguments: tuple[Any, ...]) -> bool:
    found: list[bool] = []
    mapped(arguments, lambda held: found.append(isinstance(held, PackedSequence)))
    return any(found)
