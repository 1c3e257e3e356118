"""Networks as people build them, brought into the one form that everything else takes: plain layers, float32, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsebench.errors import ModelError, reason

if TYPE_CHECKING:
    from torch import nn


def plain(net: nn.Module) -> nn.Module:
    """Return a network without what was put around it, with weights in float32.

    Wrappers of ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel`` are taken off, wherever they are:
    they hide the layers from whatever prunes or quantizes, and the backend decides what is compiled. Weights in half or
    double precision are cast; the scheme decides what is computed in half.
    """
    net = _unwrapped(net)
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if (inner := _unwrapped(child)) is not child:
                setattr(module, name, inner)
        if module._compiled_call_impl is not None:
            module._compiled_call_impl = None
    import torch

    if any(t.is_floating_point() and t.dtype != torch.float for t in (*net.parameters(), *net.buffers())):
        net = net.float()
    return net


def is_lazy(net: nn.Module) -> bool:
    """Whether a network has layers whose sizes its first batch decides."""
    from torch.nn.parameter import is_lazy as is_open

    return any(is_open(tensor) for tensor in (*net.parameters(), *net.buffers()))


def materialise(net: nn.Module, arguments: tuple[Any, ...]) -> None:
    """Give the lazy layers of a network their sizes, in place, by a pass in evaluation mode.

    Args:
        net: the network; its weights are drawn now.
        arguments: positional arguments of one forward pass, where the network is.

    Raises:
        ModelError: where it does not take them, or a layer did not run and has no size.
    """
    import torch

    training = net.training
    try:
        with torch.no_grad():
            net.eval()(*arguments)
    except Exception as error:
        raise ModelError(
            f"The lazy layers of {type(net).__name__} have no sizes yet, and it does not take a batch of these data: "
            f"{reason(error)} Choose a network for such samples."
        ) from error
    finally:
        net.train(training)
    if is_lazy(net):
        left = [name for name, module in net.named_modules() if _is_open(module)]
        raise ModelError(
            f"The lazy layers {', '.join(left)} of {type(net).__name__} do not run in evaluation, so that they have no "
            "sizes. Build them with sizes, such as Linear in place of LazyLinear."
        )


def _is_open(module: nn.Module) -> bool:
    return bool(getattr(module, "has_uninitialized_params", bool)())


def _unwrapped(net: nn.Module) -> nn.Module:
    from torch import nn

    while True:
        # By its name: importing the compiler takes seconds.
        held = "_orig_mod" if type(net).__name__ == "OptimizedModule" else "module"
        if held == "module" and not isinstance(net, nn.DataParallel | nn.parallel.DistributedDataParallel):
            return net
        net = getattr(net, held)
