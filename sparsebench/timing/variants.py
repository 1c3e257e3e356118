"""What can be compared: functions without arguments, networks with their inputs, and recipes for either."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from sparsebench.errors import SparsebenchError, VariantError
from sparsebench.tensors import cloned, tensors_in
from sparsebench.timing import machine
from sparsebench.timing.blocks import device_of, graphed

SHARE = 0.5
"""Share of the available memory that weights may take; activations and the runtime need the rest."""

_DIFFERS_IN_TRAINING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@dataclass(frozen=True)
class Built:
    """A variant that is built where it is timed: for what is too large, or not made, to be sent to another process.

    Attributes:
        factory: returns the function or network to be timed; called once per worker. A module-level function, or a
            ``functools.partial`` of one.
        specialise: is given the network that was built, its inputs and the number of threads, and returns the network
            that is timed, as a deployer would make it; None to time it as it is.
        weight_bytes: bytes of its weights, where they are known; variants are grouped by them.
    """

    factory: Callable[[], Callable[..., object]]
    specialise: Callable[[nn.Module, tuple[Any, ...], int], nn.Module] | None = None
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
        call = OwnInputs(target, variant.inputs)
        return TimedCall(name, graphed(call) if device and cuda_graphs else call, inference=True, device=device)


class OwnInputs:
    """Calls a network with the same inputs each time, also where it changes them in place.

    The first call tells: torch counts what is done to a tensor in place. Inputs that were changed are copied before
    each of the following calls, which is then part of what is timed; others never.
    """

    def __init__(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._network, self._inputs = network, inputs
        self._run: Callable[[], object] = self._first

    def __call__(self) -> object:
        """Call it once."""
        return self._run()

    def _first(self) -> object:
        with torch.inference_mode(False):  # Inside it, what is done to a copy is not counted.
            given = cloned(self._inputs)
        versions = [tensor._version for tensor in tensors_in(given)]
        returned: object = self._network(*given)
        changed = versions != [tensor._version for tensor in tensors_in(given)]
        self._run = self._with_copies if changed else partial(self._network, *self._inputs)
        return returned

    def _with_copies(self) -> object:
        return self._network(*cloned(self._inputs))


def grouped(
    others: Sequence[Variant], baselines: Sequence[Variant], group_size: int | None, limit_bytes: int | None
) -> list[list[Variant]]:
    """Return variants in groups that fit into memory together, in their order.

    A variant that is too large by itself is a group by itself.

    Args:
        others: all variants but the baselines; without any there is one group, which is empty.
        baselines: loaded in each group; one that is loaded several times stands there several times.
        group_size: most variants in a group.
        limit_bytes: most bytes of weights in a group; None for ``SHARE`` of what is available.
    """
    room = _limit(limit_bytes) - sum(map(_weight_bytes, baselines))
    groups: list[list[Variant]] = []
    taken = 0
    for variant in others:
        needed = _weight_bytes(variant)
        full = groups and group_size is not None and len(groups[-1]) >= group_size
        if not groups or full or taken + needed > room:
            groups.append([])
            taken = 0
        groups[-1].append(variant)
        taken += needed
    return groups or [[]]


def fits(variants: Iterable[Variant], times: int, limit_bytes: int | None) -> bool:
    """Whether the weights of all variants fit so many times into the limit, or ``SHARE`` of what is available."""
    return times * sum(map(_weight_bytes, variants)) <= _limit(limit_bytes)


def _limit(limit_bytes: int | None) -> float:
    return machine.available_bytes() * SHARE if limit_bytes is None else limit_bytes


def _weight_bytes(variant: Variant) -> int:
    if isinstance(variant.target, Built):
        return variant.target.weight_bytes
    if not isinstance(variant.target, nn.Module):
        return 0
    tensors = [*variant.target.parameters(), *variant.target.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
