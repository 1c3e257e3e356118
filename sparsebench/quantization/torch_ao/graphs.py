"""What networks and their graphs need before torch.ao prepares them, and after it has converted them."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional, FXFloatFunctional
from torch.fx import GraphModule
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

_REFERENCES: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def with_own_statistics(net: nn.Module) -> nn.Module:
    """Keep torch.ao from batch norms that take the statistics of each batch: it would fold in some that are not there.

    Their class becomes one of its own, which torch.ao has no pattern for.
    """
    for module in net.modules():
        kind = type(module)
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            module.__class__ = type(kind.__name__, (kind,), {"__module__": kind.__module__})
    return net


def with_traceable_functions(net: nn.Module) -> nn.Module:
    """Let additions and the like that an author marked for int8 be found in a graph, in place."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, FloatFunctional):
                setattr(module, name, FXFloatFunctional())
    return net


def with_dropout_kept(graph: GraphModule) -> GraphModule:
    """Keep torch.ao from dropouts that are called as functions and always on, in place.

    Its int8 form of them leaves the samples as they are. It knows the function of ``torch.nn.functional`` alone.
    """
    for node in graph.graph.find_nodes(op="call_function", target=functional.dropout):
        given = node.normalized_arguments(graph, normalize_to_only_use_kwargs=True)
        if given is not None and given.kwargs["training"] is not False:
            node.target, node.args, node.kwargs = (
                torch.dropout,
                tuple(given.kwargs[name] for name in ("input", "p", "training")),
                {},
            )
    graph.recompile()
    return graph


def inside_layers(graph: GraphModule) -> Iterator[str]:
    """Yield the paths of what lies in layers that the graph calls as a whole, where a conversion would not reach it."""
    for node in graph.graph.nodes:
        if node.op == "call_module":
            layer = graph.get_submodule(str(node.target))
            yield from (f"{node.target}.{name}" for name, _ in layer.named_modules() if name)


def reshaping(net: GraphModule) -> GraphModule:
    """Let an int8 graph reshape where the network views, in place: int8 convolutions lay their channels last."""
    for node in net.graph.nodes:
        if node.op == "call_method" and node.target == "view" and not isinstance(node.args[-1], torch.dtype):
            node.target = "reshape"
    net.recompile()
    return net


def as_float(net: GraphModule) -> GraphModule:
    """Make float layers again of those that torch.ao found no int8 kernel for, in place.

    It leaves references behind, which round their weights anew in each call and multiply in float.
    """
    for module in net.modules():
        if type(module).__module__.startswith("torch.ao.nn.quantized.reference"):
            kind = next((one for one in type(module).__mro__ if one in _REFERENCES), None)
            module.__class__ = kind or type(module)
    return net
