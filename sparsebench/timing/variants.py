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
from torch import nn

from sparsebench.errors import SparsebenchError, VariantError
from sparsebench.timing.gpu import device_of, graphed

_DIFFERS_IN_TRAINING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)

Specialise = Callable[[nn.Module, tuple[Any, ...], int], nn.Module]
"""Makes a network for exactly these inputs and this number of threads, as a deployer would."""


@dataclass(frozen=True)
class Built:
    """A variant that is built where it is timed: for what is too large, or not made, to be sent to another process.

    Attributes:
        factory: returns the function or network to be timed; called once per worker. A module-level function, or a
            ``functools.partial`` of one.
        specialise: is given the network that was built, its inputs and the number of threads, and returns the network
            that is timed; None to time it as it is.
        weight_bytes: bytes of its weights, where they are known; variants are grouped by them.
    """

    factory: Callable[[], Callable[..., object]]
    specialise: Specialise | None = None
    weight_bytes: int = 0


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
        device: the GPU that it runs on, by whose events it is timed; None where the clock of the CPU times it.
    """

    name: str
    call: Callable[[], object]
    inference: bool
    device: torch.device | None = None


@contextmanager
def named(name: str, doing: str) -> Iterator[None]:
    """Turn what goes wrong with a variant into an error that names it."""
    try:
        yield
    except VariantError:
        raise
    except SparsebenchError as error:
        raise VariantError(name, f"Variant {name!r} failed while {doing}: {error}") from error
    except Exception as error:
        raise VariantError(
            name,
            f"Variant {name!r} failed while {doing}: {type(error).__name__}: {error}. "
            "Call it once by itself, as it was given here, and compare again when that works.",
        ) from error


def ready(variant: Variant, threads: int = 1, cuda_graphs: bool = False) -> TimedCall:
    """Return a variant's call; builds and specialises what is to be.

    Args:
        variant: what to call.
        threads: threads of torch inside one operation, for which a network is specialised.
        cuda_graphs: whether a network on a GPU is captured as a CUDA graph and replayed.

    Raises:
        VariantError: where it cannot be called, or not timed.
    """
    name, built = variant.name, variant.target if isinstance(variant.target, Built) else None
    with named(name, "being built"):
        target = built.factory() if built else variant.target
    if not isinstance(target, nn.Module):
        if not callable(target):
            raise VariantError(
                name,
                f"Variant {name!r} is a {type(target).__name__}, which cannot be called; "
                "give a function without arguments, a network with inputs=(…,), or Built(factory).",
            )
        return TimedCall(name, target, inference=False)
    if variant.inputs is None:
        raise VariantError(
            name,
            f"Variant {name!r} is a network and there is nothing to feed it; give inputs=(…,), a tuple of the "
            "arguments of one forward pass.",
        )
    if built and built.specialise:
        with named(name, "being specialised to its inputs"):
            target = built.specialise(target, variant.inputs, threads)
    if any(module.training and isinstance(module, _DIFFERS_IN_TRAINING) for module in target.modules()):
        raise VariantError(
            name,
            f"Variant {name!r} is in training mode, where batch normalisation and dropout work otherwise than "
            "in use; call its eval() first.",
        )
    with named(name, "being looked at"):
        device = device_of(target, variant.inputs)
        call: Callable[[], object] = partial(target, *variant.inputs)
        return TimedCall(name, graphed(call) if device and cuda_graphs else call, inference=True, device=device)


def second_copy(variant: Variant, name: str) -> Variant:
    """Return the variant again under another name, with weights of its own where it is a network."""
    target = copy.deepcopy(variant.target) if isinstance(variant.target, nn.Module) else variant.target
    return replace(variant, name=name, target=target)


@dataclass(frozen=True)
class Sent:
    """Variants as bytes for a worker.

    Attributes:
        variants: each without its inputs.
        inputs: what all of them are fed; a large batch is sent, and held, once.
    """

    variants: tuple[bytes, ...]
    inputs: bytes


def pickled(variants: Sequence[Variant]) -> tuple[Sent, str | None]:
    """Return variants that share their inputs as bytes, and why a worker could not load them; None where it could."""
    sent: list[bytes] = []
    nothing = Sent((), b"")
    try:
        inputs = pickle.dumps(variants[0].inputs)
    except Exception as error:  # Whatever a __reduce__ raises.
        return nothing, f"the inputs cannot be pickled ({type(error).__name__}: {error})"
    for variant in variants:
        try:
            payload = pickle.dumps(replace(variant, inputs=None))
        except Exception as error:
            return nothing, f"{variant.name!r} cannot be pickled ({type(error).__name__}: {error})"
        if b"__main__" in payload and not _main_is_a_file():
            return nothing, f"{variant.name!r} is defined in an interactive session, which a worker cannot import"
        sent.append(payload)
    return Sent(tuple(sent), inputs), None


def unpickled(payload: bytes, name: str, inputs: tuple[Any, ...] | None) -> Variant:
    """Return the variant that ``pickled`` wrote, under ``name``, with its inputs."""
    with named(name, "being loaded by a worker"):
        variant: Variant = pickle.loads(payload)  # noqa: S301 - written by our own process a moment ago
        return replace(variant, name=name, inputs=inputs)


def _main_is_a_file() -> bool:
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return file is not None and Path(file).is_file()


def weight_bytes(variant: Variant) -> int:
    """Return the bytes of a network's tensors; 0 for what does not say."""
    if isinstance(variant.target, Built):
        return variant.target.weight_bytes
    if not isinstance(variant.target, nn.Module):
        return 0
    with torch.no_grad():
        tensors = [*variant.target.parameters(), *variant.target.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
