"""One forward pass that is watched and leaves no trace on the network."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import nn


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
