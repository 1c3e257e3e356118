"""How much memory the activations of a network need while it runs, and a forward pass that is watched."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sparsebench.tensors import cloned, mapped, tensors_in


def working_memory(net: nn.Module, example: tuple[Any, ...], bits: int | Mapping[str, int] | None = None) -> int:
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
    most_bits, innermost = 0, [True]

    def enter(*_: Any) -> None:
        innermost[-1] = False
        innermost.append(True)

    def leave(name: str, _: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        nonlocal most_bits
        if innermost.pop():
            width = bits.get(name) if isinstance(bits, Mapping) else bits
            most_bits = max(most_bits, _bits((args, kwargs, output), width))

    with torch.no_grad():
        arguments = cloned(mapped(example, _longest))
    with watched(net, enter, leave):
        net(*arguments)
    return -(-most_bits // 8)


def _bits(activations: Any, width: int | None) -> int:
    """Return the bits of all tensors in a nested structure; what shares its memory is counted once."""
    memory: dict[int, tuple[int, int, int]] = {}
    for tensor in filter(Tensor.numel, tensors_in(activations)):
        storage = tensor.untyped_storage()
        elements, _, _ = memory.get(storage.data_ptr(), (0, 0, 0))
        held = storage.nbytes() // tensor.dtype.itemsize
        memory[storage.data_ptr()] = elements + tensor.numel(), held, width or 8 * tensor.dtype.itemsize
    # Two halves of one storage are counted with what they have, two views of the same elements not twice.
    return sum(min(elements, held) * each for elements, held, each in memory.values())


def _longest(value: Any) -> Any:
    if not isinstance(value, PackedSequence) or int(value.batch_sizes[0]) == 1:
        return value
    # Each step holds its sequences by descending length: the longest stands first.
    sizes = value.batch_sizes
    starts = torch.cumsum(sizes, 0) - sizes
    return PackedSequence(value.data[starts.to(value.data.device)], torch.ones_like(sizes))


@contextmanager
def watched(net: nn.Module, enter: Callable[..., None], leave: Callable[..., None]) -> Iterator[None]:
    """Watch the modules of ``net`` in evaluation mode and without gradients, for as long as the context lasts.

    Modes, hooks, the state of the random number generator and torch's settings are afterwards as they were, also where
    the pass raises.

    Args:
        net: the network, on the CPU.
        enter: called with a module's path, the module and its args before its forward.
        leave: called with path, module, args, kwargs and output after its forward, also where that raised; the output
            is then None.
    """
    # The flags are set one by one: train() and eval() may be overridden, and exported networks refuse them.
    modes = [(module, module.training) for module in net.modules()]
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        for name, module in net.named_modules():
            stack.callback(module.register_forward_pre_hook(partial(enter, name)).remove)
            after = module.register_forward_hook(partial(leave, name), with_kwargs=True, always_call=True)
            stack.callback(after.remove)
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.no_grad())
        # Fused attention and transformer layers run as one operation, inside which nothing can be seen.
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_attention)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            for module, _ in modes:
                module.training = False
            yield
        finally:
            for module, training in modes:
                module.training = training
