"""Samples, batches and outputs of any nesting: what tensors are in them, and how they are fed, moved, cast and cut.

A structure is a tensor, a packed sequence, or a tuple, list, mapping or named tuple of structures; NumPy's arrays
become tensors where it is moved, and whatever else is in it is left as it is. Everything that handles inputs does it by
these functions, so that what one stage can be fed, all can.
"""

import inspect
import io
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from sparsebench.errors import DataError, ModelError

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def arguments_of(net: nn.Module, inputs: Any) -> tuple[Any, ...]:
    """Return the positional arguments with which a network is called for the inputs of a batch.

    This is the one place where that is decided, by the parameters of its ``forward``:

    - a tuple or list of inputs is several arguments, ``net(*inputs)``, where ``forward`` takes as many; otherwise it is
      one argument;
    - a mapping is arguments by name, ``net(**inputs)``, where ``forward`` has parameters of all its names; otherwise it
      is one argument. What ``forward`` has between them gets its default.
    - anything else is one argument.

    Args:
        net: the network. One that wraps another, whose parameters count, hands that out as ``stands_for``; one that
            was made of another, and has lost its parameters, may have their ``inspect.Signature`` as ``takes``.
        inputs: what the loader gives beside the labels.

    Raises:
        ModelError: where ``forward`` takes a name of the mapping as a keyword only.
    """
    if isinstance(inputs, Tensor | PackedSequence) or not isinstance(inputs, tuple | list | Mapping):
        return (inputs,)
    signature = signature_of(net)
    if signature is None:
        return (inputs,)
    if isinstance(inputs, Mapping):
        return _by_name(net, signature, inputs)
    try:
        signature.bind(*inputs)
    except TypeError:
        return (inputs,)
    return tuple(inputs)


def signature_of(net: nn.Module) -> inspect.Signature | None:
    """Return the parameters of a network's ``forward``; None where it does not tell."""
    while (inner := getattr(net, "stands_for", getattr(net, "_orig_mod", None))) is not None:  # The other is compiled.
        net = inner
    told: inspect.Signature | None = getattr(net, "takes", None)
    return told or _signature(getattr(net.forward, "__func__", net.forward), inspect.ismethod(net.forward))


@lru_cache(maxsize=64)
def _signature(forward: Callable[..., Any], bound: bool) -> inspect.Signature | None:
    try:
        found = inspect.signature(forward)
    except (TypeError, ValueError):  # A scripted network does not tell.
        return None
    # Annotations may be anything, and need not go to other processes.
    kept = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    return inspect.Signature(kept[bound:])


def _by_name(net: nn.Module, signature: inspect.Signature, inputs: Mapping[Any, Any]) -> tuple[Any, ...]:
    named = {name: parameter for name, parameter in signature.parameters.items() if name in inputs}
    if not inputs or len(named) < len(inputs):
        return (inputs,)
    only = [name for name, parameter in named.items() if parameter.kind not in _BY_POSITION]
    if only:
        raise ModelError(
            f"forward of {type(net).__name__} takes {', '.join(only)} by keyword only; runtimes call a network by "
            "position. Make it an ordinary parameter."
        )
    try:
        bound = signature.bind(**inputs)
    except TypeError:
        return (inputs,)
    given = max(list(signature.parameters).index(name) for name in named) + 1
    bound.apply_defaults()
    return bound.args[:given]


def read_tensors(content: bytes, what: str, classes: Sequence[Any] = ()) -> Any:
    """Return what ``torch.save`` wrote, on the CPU: tensors and plain values, for nothing else is unpickled.

    Args:
        content: of the file.
        what: names the file in an error.
        classes: of which objects may be in it as well.

    Raises:
        ModelError: where there is anything else in it, or it is damaged.
    """
    try:
        with torch.serialization.safe_globals(list(classes)):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # What readers raise where bytes are not what they expect has no common base.
        raise ModelError(
            f"{what} cannot be read ({type(error).__name__}): it is damaged, or holds more than tensors and plain "
            "values, which is not unpickled. Start the run again under another name."
        ) from error


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a structure and in packed weights of torch.ao, and the data of packed sequences."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, PackedSequence):
        yield value.data  # The rest is bookkeeping.
    elif isinstance(value, torch.ScriptObject):
        yield from tensors_in(value.__getstate__())
    elif isinstance(value, tuple | list | Mapping):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_in(part)


def scores_in(outputs: Any) -> Tensor:
    """Return the scores in outputs: the tensor itself, what is called ``logits``, or the first tensor.

    Raises:
        ModelError: where there is no tensor.
    """
    if isinstance(outputs, Tensor):
        return outputs
    named = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    found = named if isinstance(named, Tensor) else next(tensors_in(outputs), None)
    if found is None:
        raise ModelError(f"The network returns {type(outputs).__name__} without a tensor in it; return the logits.")
    return found


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
    """Return a structure with its leaves changed; whatever else is in it is left as it is."""
    if is_leaf(value):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(part, change, is_leaf) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [mapped(part, change, is_leaf) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def moved(value: Any, device: torch.device | str, dtype: torch.dtype | None = None) -> Any:
    """Return a structure on a device; floating tensors in ``dtype`` where one is given, all others as they are."""

    def move(held: Any) -> Any:
        if isinstance(held, np.ndarray | np.generic):
            held = torch.as_tensor(held)
        wanted = dtype if dtype is not None and held.data.is_floating_point() else held.data.dtype
        if isinstance(held, PackedSequence):
            return held.to(device, wanted)  # type: ignore[arg-type] # as a tensor takes it
        return held.to(device, wanted, non_blocking=True)

    return mapped(value, move, lambda held: isinstance(held, Tensor | PackedSequence | np.ndarray | np.generic))


def cloned(value: Any, device: torch.device | str | None = None) -> Any:
    """Return a structure with tensors of its own: a network may change those that it is called with in place."""

    def clone(held: Any) -> Any:
        if isinstance(held, PackedSequence):
            data, *rest = held
            return PackedSequence(clone(data), *(None if part is None else clone(part) for part in rest))
        return held.detach().to(device or held.device, copy=True)

    return mapped(value, clone)


def samples_in(value: Any) -> int | None:
    """Return the number of samples in a batch: of its first tensor (N, …) or packed sequence; None without any."""
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes[0])
    if isinstance(value, Tensor):
        return len(value) if value.dim() else None
    if isinstance(value, tuple | list | Mapping):
        for part in value.values() if isinstance(value, Mapping) else value:
            if (found := samples_in(part)) is not None:
                return found
    return None


def batch_of(example: Any, batch_size: int) -> Any:
    """Return ``batch_size`` samples of ``example``: its first ones, repeated from the start where they do not suffice.

    Args:
        example: a tensor of shape (N, …), a PackedSequence of N sequences, or a structure of these. What has no batch
            dimension (a number, None, a tensor without dimensions) is handed back as it is.
        batch_size: number of samples wanted, at least 1.

    Returns:
        The same structure; tensors have shape (batch_size, …).

    Raises:
        DataError: where ``example`` has no sample, its tensors differ in their number, or ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise DataError(f"A batch of {batch_size} samples is not possible; give a batch size of at least 1.")
    numbers: set[int] = set()

    def cut(held: Any) -> Any:
        if isinstance(held, PackedSequence):
            padded, lengths = (cut(part) for part in pad_packed_sequence(held, batch_first=True))
            return pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
        if not held.dim():
            return held
        if not len(held):
            raise DataError(
                "The example batch has no sample, so that no batch can be made from it. Give it at least one."
            )
        numbers.add(len(held))
        return held[torch.arange(batch_size, device=held.device) % len(held)]

    batch = mapped(example, cut)
    if len(numbers) > 1:
        found = " and ".join(map(str, sorted(numbers)))
        raise DataError(
            f"The tensors of a batch begin with dimensions of {found}, so that it cannot be cut into samples. Give "
            "each input the number of samples as its first dimension: padded tensors in place of offsets, for example."
        )
    return batch


def flattened(value: Any) -> tuple[Any, ...]:
    """Return the tensors and packed sequences of a structure in one row; of mappings in the order of their names."""
    if is_tensor(value):
        return (value,)
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value, key=str)]
    return tuple(leaf for part in value for leaf in flattened(part)) if isinstance(value, tuple | list) else ()


def rebuilt(structure: Any, leaves: Sequence[Any]) -> Any:
    """Return a structure like ``structure`` with other leaves, in the order of ``flattened``."""
    left = iter(leaves)

    def build(value: Any) -> Any:
        if is_tensor(value):
            return next(left)
        if isinstance(value, Mapping):
            made = {key: build(value[key]) for key in sorted(value, key=str)}
            return {key: made[key] for key in value}
        if isinstance(value, tuple | list):
            parts = [build(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        return value

    return build(structure)
