"""Networks that take and return tensors in a row, which is all that graphs of torch.export and other runtimes do."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sparsebench.errors import QuantizationError
from sparsebench.quantization import float_copy, plain_attention
from sparsebench.tensors import cloned, flattened, mapped, rebuilt, scores_in

__all__ = ["by_argument", "plain_attention", "require_tensors", "taking_tensors"]


def taking_tensors(backend: str, net: nn.Module, example: tuple[Any, ...]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a network that takes the tensors of a batch one after the other, and those of an example.

    Where the arguments are tensors already, and so is what it returns, it is the network itself; otherwise a copy of
    it, with the same names of layers, that puts tuples, lists and mappings together again. Of a mapping or an object
    that it returns, the copy returns the scores of the classes.

    Args:
        backend: who asks, for the error.
        net: a network in evaluation mode.
        example: positional arguments of one forward pass.

    Raises:
        QuantizationError: where an argument holds something else than tensors (N, …).
    """
    tensors = require_tensors(backend, example)
    adapters: list[type[nn.Module]] = [_GivesScores] if _holds_scores(net, example) else []
    if not all(isinstance(value, Tensor) for value in example):
        adapters.append(_TakesTensors)
    if not adapters:
        return net, tensors
    copied = float_copy(net).to(tensors[0].device) if tensors else float_copy(net)
    kind = type(copied)
    members = {"structure": example, "__doc__": kind.__doc__, "__module__": kind.__module__}
    copied.__class__ = type(kind.__name__, (*adapters, kind), members)
    return copied, tensors


class _TakesTensors(nn.Module):
    """Stands before the class of a network."""

    structure: Any

    def forward(self, *tensors: Tensor) -> Any:
        return super().forward(*rebuilt(self.structure, tensors))  # That of the network.


class _GivesScores(nn.Module):
    """Stands before the class of a network that returns a mapping or an object."""

    def forward(self, *arguments: Any) -> Any:
        return scores_in(super().forward(*arguments))


def _holds_scores(net: nn.Module, example: tuple[Any, ...]) -> bool:
    """Whether a network returns a mapping or an object with the scores of the classes in it."""
    try:
        with torch.no_grad():
            returned = net(*cloned(example))
        scores_in(returned)
    except Exception:  # Whoever runs it is told.
        return False
    return not isinstance(returned, Tensor | tuple | list)


def by_argument(net: nn.Module, each: tuple[Any, ...]) -> Any:
    """Return what is said of each tensor as torch.export wants it: one entry an argument, or one for ``*tensors``."""
    kinds = [parameter.kind for parameter in inspect.signature(net.forward).parameters.values()]
    return (each,) if kinds[:1] == [inspect.Parameter.VAR_POSITIONAL] else each


def require_tensors(backend: str, example: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Return the tensors in the arguments of a forward pass, in a row; an exported network takes (N, …) only.

    Raises:
        QuantizationError: where something else is among them.
    """
    mapped(example, _nothing, lambda value: _is_refused(backend, value))
    return flattened(example)


def _is_refused(backend: str, value: Any) -> bool:
    if isinstance(value, PackedSequence):
        raise QuantizationError(
            f"{backend} runs exported networks, which take tensors (N, …) and no packed sequences. Pad the "
            "sequences to one length in the collate function."
        )
    if value is None or (isinstance(value, Tensor) and value.dim()):
        return True
    if isinstance(value, tuple | list | dict):
        return False
    kind = "a tensor without dimensions" if isinstance(value, Tensor) else type(value).__name__
    raise QuantizationError(
        f"{backend} runs exported networks, whose arguments are tensors (N, …); this one is called with "
        f"{kind}. Give the network tensors only."
    )


def _nothing(value: Any) -> None:
    """Take no notice of what may be there."""
