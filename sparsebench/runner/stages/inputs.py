"""What a trainer feeds its networks: the first call, the example that is kept of it, and all for calibration."""

import io
import pickle
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from sparsebench.errors import ContractError, DataError, NoEffectWarning
from sparsebench.tensors import arguments_of, batch_of, cloned, mapped
from sparsebench.training.contract import TrainerLike, apply_settings, check_evaluated

EXAMPLE = "example.pt"

EXAMPLE_SAMPLES = 8
"""Training samples that are kept with a trained network, for what follows its graph or times it."""

Found = TypeVar("Found")


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
        check_evaluated(trainer.evaluate(net=network, quant_mode=True))
    finally:
        hook.remove()
    if not calls:
        raise ContractError(
            "The trainer does not keep the contract:",
            ["evaluate(net, quant_mode=True) ran no batch through net; feed it batches of dataloader['train']."],
        )


def first_call(trainer: TrainerLike, network: nn.Module, seed: int) -> tuple[Any, ...]:
    """Return the positional arguments, on the CPU, with which a trainer first calls a network that is calibrated.

    They are what everything else feeds the network too: in the dtype and form that the trainer makes of its batches.

    Raises:
        ContractError: where it calls it not.
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
        pass
    finally:
        hook.remove()
    return calls[0]


def few(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a call with ``EXAMPLE_SAMPLES`` samples; as they are where they cannot be cut."""
    try:
        batch: tuple[Any, ...] = batch_of(arguments, EXAMPLE_SAMPLES)
    except DataError:
        return arguments
    return batch


def written_example(arguments: tuple[Any, ...]) -> bytes | None:
    """Return an example as it is saved, None where it has objects that could not be read back safely."""
    written = io.BytesIO()
    torch.save(few(arguments), written)
    try:
        read_example(io.BytesIO(written.getvalue()))
    except pickle.UnpicklingError:
        return None
    return written.getvalue()


def read_example(file: Path | io.BytesIO) -> tuple[Any, ...]:
    """Return the arguments of a call that were saved; of classes, packed sequences alone are allowed."""
    with torch.serialization.safe_globals([PackedSequence]):
        found = torch.load(file, weights_only=True)
    # Older runs saved the only argument itself.
    return found if type(found) is tuple else (found,)


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
