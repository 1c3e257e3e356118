"""Modules that shall look like one operation to whoever follows a network through autograd."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def one_operation(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``forward`` with nothing to be seen between its inputs and its outputs but one operation.

    What recurrent layers do inside, step by step, has nothing in it that could be cut, and leads astray who follows it.
    """

    def closed(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            outputs = forward(*args, **kwargs)
        inputs = [tensor for tensor in tensors_of((args, kwargs)) if tensor.is_floating_point()]
        # So that the operation is there also where no input comes from a layer.
        anchor = torch.zeros((), requires_grad=True)
        return _mapped(outputs, lambda tensor: _Through.apply(tensor, anchor, *inputs))

    return closed


def tensors_of(values: Any) -> Iterator[Tensor]:
    """Yield the tensors in tuples, lists, mappings and packed sequences."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors_of(value)
    elif isinstance(values, tuple | list):
        for value in values:
            yield from tensors_of(value)


def _mapped(values: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return values of the same form with their floating-point tensors changed."""
    if isinstance(values, Tensor):
        return change(values) if values.is_floating_point() else values
    if isinstance(values, tuple) and hasattr(values, "_fields"):  # a packed sequence
        return type(values)(*(_mapped(value, change) for value in values))
    if isinstance(values, tuple | list):
        return type(values)(_mapped(value, change) for value in values)
    return values


class _Through(torch.autograd.Function):
    """Hands on a tensor as if it had been computed from all the inputs. Nobody differentiates it."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, *inputs: Tensor) -> Tensor:  # noqa: ARG004 - the signature of a Function
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise NotImplementedError
