"""What can be compared: functions without arguments, networks with their inputs, and recipes for either."""

import copy
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.errors import SparsebenchError

_DIFFERS_IN_TRAINING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@dataclass(frozen=True)
class Built:
    """A variant that is built where it is timed: for what is too large, or not made, to be sent to another process.

    Attributes:
        factory: returns the function or network to be timed; called once per worker. A module-level function, or a
            ``functools.partial`` of one.
    """

    factory: Callable[[], Callable[..., object]]


@dataclass(frozen=True)
class Variant:
    """A variant as the user gave it.

    Attributes:
        name: what it is called in the comparison.
        target: a function without arguments, a network, or ``Built``.
        inputs: positional arguments of one forward pass; used by networks only.
    """

    name: str
    target: Any
    inputs: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class TimedCall:
    """A variant ready to be called.

    Attributes:
        name: of the variant.
        call: runs it once.
        inference: whether it runs in PyTorch's inference mode, as networks do.
    """

    name: str
    call: Callable[[], object]
    inference: bool


@contextmanager
def named(name: str, doing: str) -> Iterator[None]:
    """Turn what goes wrong with a variant into an error that names it."""
    try:
        yield
    except SparsebenchError:
        raise
    except Exception as error:
        raise SparsebenchError(
            f"Variant {name!r} failed while {doing}: {type(error).__name__}: {error}. "
            "Call it once by itself, as it was given here, and compare again when that works."
        ) from error


def ready(variant: Variant) -> TimedCall:
    """Return a variant's call; builds what is to be built.

    Raises:
        SparsebenchError: where it cannot be called, or not timed.
    """
    with named(variant.name, "being built"):
        target = variant.target.factory() if isinstance(variant.target, Built) else variant.target
    if not isinstance(target, nn.Module):
        if not callable(target):
            raise SparsebenchError(
                f"Variant {variant.name!r} is a {type(target).__name__}, which cannot be called; "
                "give a function without arguments, a network with inputs=(…,), or Built(factory)."
            )
        return TimedCall(variant.name, target, inference=False)
    if variant.inputs is None:
        raise SparsebenchError(
            f"Variant {variant.name!r} is a network and there is nothing to feed it; give inputs=(…,), a tuple of the "
            "arguments of one forward pass."
        )
    if any(module.training and isinstance(module, _DIFFERS_IN_TRAINING) for module in target.modules()):
        raise SparsebenchError(
            f"Variant {variant.name!r} is in training mode, where batch normalisation and dropout work otherwise than "
            "in use; call its eval() first."
        )
    held: list[Any] = [*target.parameters(), *target.buffers(), *variant.inputs]
    if any(isinstance(tensor, Tensor) and tensor.device.type not in {"cpu", "meta"} for tensor in held):
        raise SparsebenchError(
            f"Variant {variant.name!r} is not on the CPU, where alone variants are compared in pairs; move it and its "
            "inputs there, or use time_network, which waits for the device's events."
        )
    return TimedCall(variant.name, partial(target, *variant.inputs), inference=True)


def second_copy(variant: Variant, name: str) -> Variant:
    """Return the variant again under another name, with weights of its own where it is a network."""
    target = copy.deepcopy(variant.target) if isinstance(variant.target, nn.Module) else variant.target
    return replace(variant, name=name, target=target)


def pickled(variants: Sequence[Variant]) -> tuple[list[bytes], str | None]:
    """Return each variant as bytes, and why a worker could not load them; None where it could."""
    payloads = []
    for variant in variants:
        try:
            payload = pickle.dumps(variant)
        except Exception as error:  # Whatever a __reduce__ raises.
            return [], f"{variant.name!r} cannot be pickled ({type(error).__name__}: {error})"
        if b"__main__" in payload and not _main_is_a_file():
            return [], f"{variant.name!r} is defined in an interactive session, which a worker cannot import"
        payloads.append(payload)
    return payloads, None


def unpickled(payload: bytes, name: str) -> Variant:
    """Return what ``pickled`` wrote."""
    with named(name, "being loaded by a worker"):
        variant: Variant = pickle.loads(payload)  # noqa: S301 - written by our own process a moment ago
        return variant


def _main_is_a_file() -> bool:
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return file is not None and Path(file).is_file()


def weight_bytes(variant: Variant) -> int:
    """Return the bytes of a network's tensors; 0 for what does not say."""
    if not isinstance(variant.target, nn.Module):
        return 0
    with torch.no_grad():
        tensors = [*variant.target.parameters(), *variant.target.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
