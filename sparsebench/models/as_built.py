"""Networks as people build them, brought into the one form that everything else takes: plain layers, float32, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsebench.errors import ModelError, reason
from sparsebench.wording.text import first_of

if TYPE_CHECKING:
    from torch import nn

_NAMES_SHOWN = 3


def plain(net: nn.Module) -> nn.Module:
    """Return a network without what was put around it, with weights in float32.

    Wrappers of ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel`` are taken off, wherever they are:
    they hide the layers from whatever prunes or quantizes, and the backend decides what is compiled. Weights in half or
    double precision are cast; the scheme decides what is computed in half.

    Raises:
        ModelError: where it is a TorchScript program, or has complex weights.
    """
    import torch

    net = _unwrapped(net)
    if isinstance(net, torch.jit.ScriptModule):
        raise ModelError(
            f"{net.original_name} is a TorchScript program, whose layers can be neither pruned nor quantized; give the "
            "network that it was made of."
        )
    if complex_ones := [name for name, tensor in net.named_parameters() if tensor.is_complex()]:
        raise ModelError(
            f"{type(net).__name__} has complex weights ({first_of(complex_ones, _NAMES_SHOWN)}), which nothing here "
            "prunes or quantizes; compute with the real and the imaginary part as channels."
        )
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if (inner := _unwrapped(child)) is not child:
                setattr(module, name, inner)
        if module._compiled_call_impl is not None:
            module._compiled_call_impl = None
    if any(t.is_floating_point() and t.dtype != torch.float for t in (*net.parameters(), *net.buffers())):
        net = net.float()
    return net


def unknown_layers(net: nn.Module) -> str | None:
    """Return which layers a network keeps where torch does not look for any, a sentence; None where there are none."""
    from torch import nn

    known = {id(held) for held in (*net.modules(), *net.parameters())}
    found = [
        f"{path}.{name}" if path else name
        for path, module in net.named_modules()
        for name, value in vars(module).items()
        if not name.startswith("_") and isinstance(value, list | tuple | dict)
        for one in (value.values() if isinstance(value, dict) else value)
        if isinstance(one, nn.Module | nn.Parameter) and id(one) not in known
    ]
    if not found:
        return None
    named = first_of([*dict.fromkeys(found)], _NAMES_SHOWN)
    return (
        f"{type(net).__name__} keeps layers in a list or mapping of Python's ({named}), where torch does not know of "
        "them: they are neither trained nor pruned, quantized or saved. Keep them in an nn.ModuleList, nn.ModuleDict "
        "or nn.ParameterList."
    )


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
