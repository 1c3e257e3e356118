"""Working memory of a network that is a graph of operations, quantized by PT2E."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

_QUANTIZE, _DEQUANTIZE = "quantize_per_tensor", "dequantize_per_tensor"
_IN_PLACE_TOO = ("relu", "hardtanh", "hardswish", "silu")
_FUSED = {"gelu", "sigmoid", "tanh", *_IN_PLACE_TOO, *(f"{name}_" for name in _IN_PLACE_TOO)}
"""Activation functions that are computed inside the kernel of the layer before them."""


def working_memory(graph: GraphModule, example: tuple[Tensor, ...]) -> int:
    """Return the largest sum of an operation's input and output activations, in bytes.

    An activation that is only read quantized is held quantized: the conversions between operations are part of their
    kernels. So are the activation functions that follow a layer. Weights are not activations.

    Args:
        graph: a graph that ``pt2e.convert`` returned.
        example: arguments of one forward pass of one sample, on the CPU.
    """
    watcher = _Watcher(graph)
    with torch.no_grad():
        watcher.run(*example)
    return watcher.most_bytes


class _Watcher(Interpreter):
    """Runs a graph in float and adds up the bytes that its activations have in int8."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph)
        self.bytes: dict[Node, int] = {}
        self.weights: set[Node] = set()
        self.most_bytes = 0

    def run_node(self, node: Node) -> Any:
        value = super().run_node(node)
        sources = node.all_input_nodes
        if node.op == "get_attr" or (sources and all(source in self.weights for source in sources)):
            self.weights.add(node)
            return value
        if not isinstance(value, Tensor):
            return value
        if _operation(node) in (_QUANTIZE, _DEQUANTIZE):
            # What is held between the two has the width of int8, on whichever side it is looked at.
            self.bytes[node] = value.numel()
            return value
        quantized = bool(node.users) and all(_operation(user) == _QUANTIZE for user in node.users)
        self.bytes[node] = value.numel() if quantized else value.nbytes
        if node.op == "call_function" and _operation(node) not in _FUSED:
            inputs = sum(self.bytes.get(source, 0) for source in dict.fromkeys(sources))
            self.most_bytes = max(self.most_bytes, inputs + self._output(node, value, quantized))
        return value

    def _output(self, node: Node, value: Tensor, quantized: bool) -> int:
        """Return the bytes that an operation writes, behind the activation function that is fused with it."""
        user = next(iter(node.users), None)
        if len(node.users) == 1 and user is not None and _operation(user) in _FUSED:
            quantized = bool(user.users) and all(_operation(after) == _QUANTIZE for after in user.users)
        return value.numel() if quantized else value.nbytes


def _operation(node: Node) -> str:
    """Return the name of an operation without library and overload: ``relu`` of ``aten.relu.default``."""
    parts = str(node.target).split(".")
    return parts[1] if node.op == "call_function" and len(parts) > 2 else parts[-1]
