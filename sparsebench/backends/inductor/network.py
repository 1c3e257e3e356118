"""Networks compiled by TorchInductor for one batch size, and what the compiler made of them."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph, GraphModule, Node

from sparsebench.backends.in_torch import torch_threads
from sparsebench.quantization import failing_as, quiet_libraries
from sparsebench.tensors import flattened

_INT8_KERNELS = ("qconv_pointwise", "qconv2d_pointwise", "qlinear_pointwise")
_SCALE_OF_WEIGHT = 4  # x, scale and zero point of x, packed weight, scale of the weight, …


class Lowered(CustomGraphPass):
    """Looks at the graph that inductor generates code from, after weights were packed into int8 kernels.

    Attributes:
        int8_scales: the scales of the weights of each int8 kernel.
        int8_shapes: the shapes of all int8 weights that the compiled network holds.
    """

    def __init__(self) -> None:
        self.int8_scales: list[Tensor] = []
        self.int8_shapes: list[torch.Size] = []

    def __call__(self, graph: Graph) -> None:
        """Note what is int8; the graph is left as it is."""
        for node in graph.nodes:
            value = node.meta.get("val")
            if node.op in ("get_attr", "placeholder") and isinstance(value, Tensor) and value.dtype is torch.int8:
                self.int8_shapes.append(value.shape)
            if node.op == "call_function" and any(kernel in str(node.target) for kernel in _INT8_KERNELS):
                scale = node.args[_SCALE_OF_WEIGHT]
                if isinstance(scale, Node) and scale.op == "get_attr":
                    self.int8_scales.append(getattr(graph.owning_module, str(scale.target)).detach().clone())

    def uuid(self) -> None:
        """Return None: a compiled network is not taken from inductor's cache where it is to be looked at."""


class Compiled(nn.Module):
    """A network compiled for a fixed batch size that takes any: larger batches in parts, the last part filled up.

    Where the answer to one sample depends on the others in its batch, it is compiled for each batch size instead.

    A fixed size is what a deployer compiles for, and it is what inductor's int8 kernels need. Compiled code is called
    directly, without torch.compile's guards, which would compile again, with other settings, for each way of calling.

    Args:
        graph: an exported graph; it is copied.
        inputs: arguments of one forward pass, of the batch size and on the device to compile for.
        threads: threads that one forward pass uses.
        freezing: whether weights are constants that may be folded and packed. int8 weights for float kernels must not
            be: they would be folded into float ones.
        lowered: looks at the graph that code is generated from; None takes the compiled network from a cache.
        whole: whether batches must not be fed in parts.

    Raises:
        QuantizationError: where inductor cannot compile the graph.
    """

    def __init__(
        self,
        graph: GraphModule,
        inputs: tuple[Tensor, ...],
        threads: int,
        freezing: bool = True,
        lowered: Lowered | None = None,
        whole: bool = False,
    ) -> None:
        super().__init__()
        # In a tuple, so that it is no submodule: an exported graph refuses eval().
        self._graph, self.freezing, self.batch = (graph,), freezing, len(inputs[0])
        self.threads, self.whole = threads, whole
        self._program = _compile(graph, inputs, threads, freezing, lowered)
        self._of_other_sizes: dict[int, Any] = {}
        self.eval()

    def forward(self, *arguments: Any) -> Any:
        """Return what the network returns.

        Args:
            arguments: as the network takes them; the first dimension of each tensor is the batch, of any size.
        """
        inputs = flattened(arguments)
        size = len(inputs[0])
        with torch.no_grad():
            if size == self.batch:
                return self._program(*inputs)
            if self.whole:
                return self._of_size(size, inputs)(*inputs)
            parts = [self._part(inputs, begin) for begin in range(0, size, self.batch)]
        return _joined(parts, size)

    @property
    def graph(self) -> GraphModule:
        """The exported graph that was compiled."""
        return self._graph[0]

    def for_inputs(self, inputs: tuple[Any, ...], threads: int) -> "Compiled":
        """Return the same network, compiled for inputs of exactly these shapes."""
        return Compiled(self._graph[0], flattened(inputs), threads, self.freezing, whole=self.whole)

    def _of_size(self, size: int, inputs: tuple[Tensor, ...]) -> Any:
        if size not in self._of_other_sizes:
            self._of_other_sizes[size] = _compile(self.graph, inputs, self.threads, self.freezing, None)
        return self._of_other_sizes[size]

    def _part(self, inputs: tuple[Tensor, ...], begin: int) -> Any:
        part = [value[begin : begin + self.batch] for value in inputs]
        missing = self.batch - len(part[0])
        if missing:
            part = [torch.cat([value, value[-1:].expand(missing, *value.shape[1:])]) for value in part]
        return self._program(*part)


def _compile(
    graph: GraphModule, inputs: tuple[Tensor, ...], threads: int, freezing: bool, lowered: Lowered | None
) -> Any:
    options: dict[str, Any] = {"freezing": freezing, "cpp.threads": threads}
    if lowered is not None:
        options["post_grad_custom_pre_pass"] = lowered
    refused = failing_as("TorchInductor cannot compile the network")
    with refused, quiet_libraries(), torch.no_grad(), torch_threads(threads):
        # Freezing changes the graph, so that each compilation needs its own.
        program = torch._inductor.compile(copy.deepcopy(graph), list(inputs), options=options)
        program(*inputs)
    return program


def _joined(parts: list[Any], size: int) -> Any:
    """Return outputs of several batches as those of one, without what was filled up."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)[:size]
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts], size) for key in first}
    if isinstance(first, tuple | list):
        joined = [_joined(list(values), size) for values in zip(*parts, strict=True)]
        return type(first)(*joined) if hasattr(first, "_fields") else type(first)(joined)
    return first
