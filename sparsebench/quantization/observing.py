"""Observers of activations in a graph: none is kept where eight bits cannot hold what it sees.

A scale is made of the range of a tensor. That of token ids or of a mask means nothing; one with an infinity, with which
masks are filled before a softmax, has no scale; and where a mask is filled with −10,000, every other value would be
rounded to zero. Such a tensor stays in float, and the audit names it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from sparsebench.tensors import cloned

NOT_FINITE = "saw_infinite"
"""Buffer of an observer: whether a value that it saw was not finite."""

LEVELS = 255
"""Steps of eight bits."""

INFINITE = "kept in float: its values are not all finite, as where a mask fills in −inf, so that it has no int8 scale"
COARSE = "kept in float: next to its largest values, such as those of a mask, eight bits would round all others to zero"

KEPT = "kept_in_float"
"""Under which name the ``meta`` of a graph tells of them."""


def is_coarse(values: Tensor) -> bool:
    """Whether eight bits over the range of a tensor would leave nothing of all values but those near its largest."""
    sizes = values.abs()
    largest = sizes.max() if sizes.numel() else sizes.sum()
    others = sizes[sizes < largest / 2]
    return bool(others.numel()) and 0 < float(others.max()) < float(largest) / LEVELS


def without_unfit(prepared: GraphModule, example: tuple[Any, ...], is_observer: Callable[[nn.Module], bool]) -> None:
    """Remove the observers of what is no float tensor or cannot have a scale, in place, and watch the others.

    Args:
        prepared: a graph with observers, which have seen nothing.
        example: positional arguments of one forward pass.
        is_observer: tells observers from other modules.
    """
    looking = _Looking(prepared, is_observer)
    with torch.no_grad():
        looking.run(*cloned(example), enable_io_processing=False)
    _remove(prepared, looking.unfit)
    for observer in prepared.modules():
        if is_observer(observer) and not hasattr(observer, NOT_FINITE):
            observer.register_buffer(NOT_FINITE, torch.tensor(False))
            observer.register_forward_pre_hook(_watch)


def without_infinite(prepared: GraphModule) -> None:
    """Remove the observers that saw values which are not finite, in place; the graph remembers their names."""
    modules = dict(prepared.named_modules(remove_duplicate=False))
    _remove(
        prepared,
        {
            node: INFINITE
            for node in prepared.graph.nodes
            if node.op == "call_module" and bool(getattr(modules[str(node.target)], NOT_FINITE, False))
        },
    )


def kept_in_float(network: nn.Module) -> Mapping[str, str]:
    """Return the activations that stay in float for want of a scale, with the reason, of a converted graph."""
    kept: Mapping[str, str] = getattr(network, "meta", {}).get(KEPT, {})
    return kept


class _Looking(Interpreter):
    """Runs a graph without its observers, and notes which of them could make no scale."""

    def __init__(self, prepared: GraphModule, is_observer: Callable[[nn.Module], bool]) -> None:
        super().__init__(prepared)
        self._is_observer = is_observer
        self.unfit: dict[Node, str] = {}

    def run_node(self, n: Node) -> Any:
        observer = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        if observer is None or not self._is_observer(observer):
            return super().run_node(n)
        (value,), _ = self.fetch_args_kwargs_from_env(n)
        if getattr(observer, "is_dynamic", False):
            return value  # It has no range before the network runs.
        if not isinstance(value, Tensor) or not value.is_floating_point():
            self.unfit[n] = ""
        elif not bool(torch.isfinite(value).all()):
            self.unfit[n] = INFINITE
        elif is_coarse(value):
            self.unfit[n] = COARSE
        return value


def _remove(prepared: GraphModule, unfit: Mapping[Node, str]) -> None:
    named: dict[str, str] = {}
    modules = dict(prepared.named_modules(remove_duplicate=False))
    lost = {id(modules[str(node.target)]): reason for node, reason in unfit.items()}
    # The inputs of a concatenation share one observer.
    unfit = {
        node: lost[id(modules[str(node.target)])]
        for node in prepared.graph.nodes
        if node.op == "call_module" and id(modules[str(node.target)]) in lost
    }
    for node, reason in unfit.items():
        observed = node.args[0]
        if reason and isinstance(observed, Node):
            named[str(observed.target) if observed.op == "call_module" else observed.name] = reason
        node.replace_all_uses_with(observed)  # type: ignore[arg-type] # a node
        prepared.graph.erase_node(node)
    if unfit:
        prepared.delete_all_unused_submodules()
        prepared.recompile()
    prepared.meta[KEPT] = {**kept_in_float(prepared), **named}


def _watch(observer: nn.Module, inputs: tuple[Any, ...]) -> None:
    seen = inputs[0]
    if isinstance(seen, Tensor) and not getattr(observer, NOT_FINITE) and not bool(torch.isfinite(seen).all()):
        setattr(observer, NOT_FINITE, torch.tensor(True))
