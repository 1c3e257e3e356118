"""The tensors inside what a network takes, returns or keeps in its state dict."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in tuples, lists, mappings and packed weights of torch.ao, and the data of packed sequences."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, PackedSequence):
        yield value.data  # The rest is bookkeeping.
    elif isinstance(value, torch.ScriptObject):
        yield from tensors_in(value.__getstate__())
    elif isinstance(value, tuple | list | Mapping):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_in(part)


def parts_of(tensor: Tensor) -> tuple[Tensor, ...]:
    """Return the plain tensors that a tensor is made of, the one that holds its elements first.

    A quantized weight of torchao presents itself as a float tensor and holds int8 elements, scales and zero points; a
    2:4 sparse one holds its values and where they stand. Any other tensor is one part, itself.
    """
    if not is_traceable_wrapper_subclass(tensor):
        return (tensor,)
    names, _ = tensor.__tensor_flatten__()
    held = [getattr(tensor, name) for name in names]
    parts = [part for value in held if isinstance(value, Tensor) for part in parts_of(value)]
    return tuple(sorted(parts, key=lambda part: -part.numel()))


def memory_of(tensor: Tensor) -> Hashable:
    """Return what tells the memory of a tensor from that of others: equal for two that are one weight.

    A parameter under two names, two parameters of one storage and a transposed view of one are one weight; parts of a
    storage that others have the rest of are not.
    """
    plain = parts_of(tensor)[0]
    if is_lazy(plain) or plain.layout is not torch.strided or plain.is_meta or not plain.numel():
        return id(tensor)
    return plain.device, plain.data_ptr(), plain.numel(), plain.dtype


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor or a packed sequence."""
    return isinstance(value, Tensor | PackedSequence)


def mapped(value: Any, change: Callable[[Any], Any], is_leaf: Callable[[Any], bool] = is_tensor) -> Any:
    """Return a nested structure with its leaves changed; whatever else is in it is left as it is."""
    if is_leaf(value):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(part, change, is_leaf) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [mapped(part, change, is_leaf) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
