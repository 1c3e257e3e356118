"""How much memory the activations of a network need while torch runs it, and a forward pass that is watched."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import TorchDispatchMode

from sparsebench.measure.liveness import Kind, Made, Step, peak_bytes
from sparsebench.tensors import cloned, mapped, parts_of, tensors_in


def working_memory(net: nn.Module, example: tuple[Any, ...]) -> int:
    """Return the peak of the activations that are live at the same time in one pass, in bytes.

    What torch computes is watched operation by operation, so that skips and functional calls count as well, each tensor
    in the width that it has. A recurrent layer is one operation. See ``liveness`` for what counts how.

    Args:
        net: a float or quantized network on the CPU; it runs once in evaluation mode and is left as it is.
        example: positional arguments of one forward pass of one sample, on the CPU. Packed sequences are cut down to
            the longest of them, which needs most.

    Returns:
        Bytes; 0 where there is no tensor.
    """
    with torch.no_grad():
        arguments = cloned(mapped(example, _longest))
    trace = _Trace(net, arguments)
    with watched(net, trace.enter, trace.leave), trace:
        outputs = net(*arguments)
    return trace.peak_bytes(outputs)


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call] # it has no types
    """Notes the operations of one pass by the memory that they read and make."""

    def __init__(self, net: nn.Module, arguments: tuple[Any, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._steps: list[Step] = []
        self._indices: set[Hashable] = set()
        self._held: list[Tensor] = []  # So that no memory is given to another tensor meanwhile.
        self._weights = {_address(part) for tensor in _state(net) for part in parts_of(tensor)}
        self._whole = 0
        self._inputs = self._made(tensors_in(arguments))

    def enter(self, _: str, module: nn.Module, __: Any) -> None:
        self._whole += _is_recurrent(module)

    def leave(self, _: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if _is_recurrent(module):
            self._whole -= 1
            if not self._whole:
                self._note((args, kwargs), output)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._whole:
            self._note((args, kwargs or {}), result, func)
        return result

    def peak_bytes(self, outputs: Any) -> int:
        """Return the peak of what was live, where the network returned ``outputs``."""
        returned = self._memories(outputs)
        # Where the largest values stood, torch finds whether anybody asks for it or not; runtimes do not.
        unread = self._indices.difference(returned, *(step.reads for step in self._steps))
        steps = [
            replace(step, makes={memory: one for memory, one in step.makes.items() if memory not in unread})
            for step in self._steps
        ]
        return peak_bytes(self._inputs, steps, returned)

    def _memories(self, value: Any) -> list[Hashable]:
        return [_address(part) for tensor in tensors_in(value) for part in parts_of(tensor)]

    def _note(self, given: Any, result: Any, operation: Any = None) -> None:
        reads = dict.fromkeys(self._memories(given))
        made = self._made(tensors_in(result))
        # Views, and what works in place, make no memory.
        new = {memory: one for memory, one in made.items() if memory not in reads and memory not in self._weights}
        self._steps.append(Step(tuple(reads), new, "operation" if operation is None else kind_of(operation)))
        if "with_indices" in str(operation):
            self._indices |= set(self._memories(result[1]))

    def _made(self, tensors: Iterable[Tensor]) -> dict[Hashable, Made]:
        found: dict[Hashable, Made] = {}
        for tensor in tensors:
            for part in filter(Tensor.numel, parts_of(tensor)):
                self._held.append(part)
                width, held = part.dtype.itemsize, part.untyped_storage().nbytes()
                # An expanded tensor has more elements than memory.
                nbytes = min(part.numel() * width, held)
                one = Made(nbytes // width, nbytes)
                known = found.get(_address(part))
                if known is None or known.nbytes < nbytes:
                    found[_address(part)] = one
        return found


def _state(net: nn.Module) -> Iterator[Tensor]:
    yield from net.parameters()
    yield from net.buffers()


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _is_recurrent(module: nn.Module) -> bool:
    # Those that are quantized dynamically have a base of their own, of the same name.
    return any(base.__name__ == "RNNBase" for base in type(module).__mro__)


_ELEMENT_BY_ELEMENT = ("batch_norm", "relu", "hardtanh", "dropout", "leaky", "sigmoid", "hardswish", "elu", "tanh")
"""Parts of the names of operations that work element by element and are not marked so: int8 ones, batch norms."""


def kind_of(operation: Any) -> Kind:
    """Return whether an operation of torch works element by element."""
    name = str(operation)
    marked = torch.Tag.pointwise in getattr(operation, "tags", ())
    layer = any(part in name for part in ("conv", "linear"))
    return "elementwise" if marked or (not layer and any(part in name for part in _ELEMENT_BY_ELEMENT)) else "operation"


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
