"""How much memory the activations of a network need while it runs."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sparsebench.measure.forward import watched

Bits = int | Mapping[str, int] | None


def working_memory(net: nn.Module, example: tuple[Any, ...], bits: Bits = None) -> int:
    """Return the largest sum of a layer's input and output activations, in bytes.

    A layer is a module in whose forward no other module runs. Activations that share their memory, such as input and
    output of a layer that works in place or only gives another view, count once. Weights are not activations.

    Args:
        net: a float or quantized network on the CPU; it runs once in evaluation mode and is left as it is.
        example: positional arguments of one forward pass of one sample, on the CPU. Packed sequences are cut down to
            the longest of them, which needs most.
        bits: width of one activation. None takes the width that each tensor has, which is right for a network that
            really runs in its scheme; a number is taken for all; a mapping gives widths by the name of the layer (the
            network itself is the empty name), and layers that it lacks keep their own.

    Returns:
        Bytes; 0 where no layer has a tensor.
    """
    observer = _Observer(bits)
    with torch.no_grad():
        arguments = tuple(_longest(value) for value in example)
    with watched(net, observer.enter, observer.leave):
        net(*arguments)
    return -(-observer.most_bits // 8)


class _Observer:
    """Looks at inputs and outputs of the innermost modules."""

    def __init__(self, bits: Bits) -> None:
        self.bits = bits
        self.most_bits = 0
        self.innermost: list[bool] = [True]

    def enter(self, name: str, module: nn.Module) -> None:  # noqa: ARG002 - a hook
        self.innermost[-1] = False
        self.innermost.append(True)

    def leave(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG002 - a hook
        if self.innermost.pop():
            width = self.bits.get(name) if isinstance(self.bits, Mapping) else self.bits
            self.most_bits = max(self.most_bits, _bits((inputs, output), width))


def _bits(activations: Any, width: int | None) -> int:
    """Return the bits of all tensors in a nested structure; what shares its memory is counted once."""
    memory: dict[int, tuple[int, int, int]] = {}
    for tensor in _tensors(activations):
        storage = tensor.untyped_storage()
        elements, _, _ = memory.get(storage.data_ptr(), (0, 0, 0))
        held = storage.nbytes() // tensor.dtype.itemsize
        memory[storage.data_ptr()] = elements + tensor.numel(), held, width or 8 * tensor.dtype.itemsize
    # Two halves of one storage are counted with what they have, two views of the same elements not twice.
    return sum(min(elements, held) * each for elements, held, each in memory.values())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, PackedSequence):
        yield value.data  # the rest is bookkeeping
    elif isinstance(value, Tensor):
        if value.numel():
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)


def _longest(value: Any) -> Any:
    """Return the longest of packed sequences, packed; anything else as it is."""
    if not isinstance(value, PackedSequence) or int(value.batch_sizes[0]) == 1:
        return value
    # Each step holds its sequences by descending length: the longest stands first.
    sizes = value.batch_sizes
    starts = torch.cumsum(sizes, 0) - sizes
    return PackedSequence(value.data[starts.to(value.data.device)], torch.ones_like(sizes))
