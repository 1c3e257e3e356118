"""Static int8 of exported graphs, by torchao's PT2E with the quantizer of inductor's x86 kernels, and their memory."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from sparsebench.backends.flat import by_argument
from sparsebench.measure.liveness import Kind, Made, Step, peak_bytes
from sparsebench.measure.memory import kind_of
from sparsebench.quantization import (
    LayerFact,
    audit,
    failing_as,
    float_copy,
    plain_attention,
    quiet_libraries,
    require_calibrated,
)
from sparsebench.quantization.observing import KEPT, kept_in_float, without_infinite, without_unfit
from sparsebench.tensors import tensors_in

_LIKE_FLOAT = "inductor has no int8 kernel for it here, so its int8 weights were turned back into float"
_NOT_MARKED = "PT2E with X86InductorQuantizer has no int8 form of it"
_QUANTIZE, _DEQUANTIZE = "quantize_per_tensor", "dequantize_per_tensor"


@dataclass(frozen=True)
class QuantizedWeight:
    """One weight that ``convert`` brought into int8.

    Attributes:
        name: the parameter's name in the float network.
        values: int8, in the shape of the weight.
        scale: one scale for each of its channels.
        zero_point: as many zero points.
    """

    name: str
    values: Tensor
    scale: Tensor
    zero_point: Tensor

    @property
    def zeros(self) -> int:
        """How many of its elements equal the zero point of their channel, the first dimension."""
        return int((self.values == self.zero_point.reshape(-1, *[1] * (self.values.dim() - 1))).sum())


def export_graph(net: nn.Module, example: tuple[Any, ...]) -> GraphModule:
    """Return the graph of a copy of ``net``, for any batch size where its forward allows that.

    Args:
        net: a network in evaluation mode; it is left as it is.
        example: tensors, the arguments of one forward pass; the first dimension of each is the batch.

    Raises:
        QuantizationError: where torch.export cannot follow the network; the text carries its reason and the remedy.
    """
    name = type(net).__name__
    batch = tuple({0: torch.export.Dim.AUTO} if value.dim() else None for value in example)
    remedy = "Rewrite what depends on the data, such as a branch on the values of a tensor."
    with failing_as(f"torch.export cannot follow {name}", remedy), quiet_libraries(), plain_attention():
        # strict: without it the graph of a ResNet has partitions with several outputs, which the quantizer refuses.
        program = torch.export.export(net, example, strict=True, dynamic_shapes=by_argument(net, batch))
        return program.module(check_guards=False)


def prepare(net: nn.Module, example: tuple[Any, ...], reduce_range: bool = True) -> GraphModule:
    """Return the graph of ``net``, batch norms folded and observers inserted; calibrate it, then ``convert`` it.

    Args:
        net: a float network in evaluation mode; it is left as it is.
        example: tensors, the arguments of one forward pass.
        reduce_range: whether activations use 7 of 8 bits. CPUs without VNNI add products of 8-bit numbers in 16 bits,
            which overflow and ruin the result without an error; torch's eager engine ``x86`` keeps to 7 as well.

    Raises:
        QuantizationError: where the network cannot be exported, or not be prepared.
    """
    graph = _with_own_statistics(export_graph(float_copy(net), example))
    problem = f"PT2E cannot prepare {type(net).__name__} for static quantization"
    with failing_as(problem), quiet_libraries():
        # It is an extra, and slow to import.
        from torchao.quantization.pt2e.observer import ObserverBase
        from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=reduce_range))
        prepared = cast("GraphModule", prepare_pt2e(graph, quantizer))
        without_unfit(prepared, example, lambda module: isinstance(module, ObserverBase))
        return prepared


def _with_own_statistics(graph: GraphModule) -> GraphModule:
    """Keep PT2E from folding batch norms that take the statistics of each batch into a convolution, in place."""
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.batch_norm.default and node.args[3] is None:
            with graph.graph.inserting_before(node):
                apart = graph.graph.call_function(torch.ops.aten.clone.default, (node.args[0],))
                apart.meta = {"val": node.args[0].meta["val"]}  # without what would make it a part of the convolution
            node.args = (apart, *node.args[1:])
    graph.recompile()
    return graph


def convert(prepared: GraphModule) -> tuple[GraphModule, tuple[QuantizedWeight, ...]]:
    """Return the graph of a calibrated network with int8 weights, and these weights; ``prepared`` is used up.

    The graph computes in float, between conversions, until inductor puts int8 kernels in their place.

    Raises:
        QuantizationError: where no batch passed through ``prepared``, or torchao cannot convert it.
    """
    require_calibrated(prepared)
    without_infinite(prepared)
    kept = kept_in_float(prepared)
    names = dict(_weight_names(prepared))
    with failing_as("PT2E cannot convert the calibrated network to int8"), quiet_libraries():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        converted = cast("GraphModule", convert_pt2e(prepared))
    converted.meta[KEPT] = kept
    return converted, tuple(_quantized_weights(converted, names))


def constants(graph: GraphModule) -> dict[str, Tensor]:
    """Return the tensors that the nodes of a graph use, by name; PT2E leaves others in it that nothing uses."""
    names = dict.fromkeys(str(node.target) for node in graph.graph.nodes if node.op == "get_attr" and node.users)
    held = {name: attrgetter(name)(graph) for name in names}
    return {name: tensor.detach() for name, tensor in held.items() if isinstance(tensor, Tensor)}


def audit_lowered(
    net: nn.Module, weights: Sequence[QuantizedWeight], int8_scales: Sequence[Tensor]
) -> tuple[LayerFact, ...]:
    """List every layer with weights, as it stands in the graph that really runs.

    Args:
        net: the float network.
        weights: what ``convert`` brought into int8.
        int8_scales: the scales of the weights of each int8 kernel in the lowered graph, in any order. They tell which
            weights those are: inductor packs weights and gives them other names.
    """
    by_name = {weight.name: weight for weight in weights}
    facts = []
    for fact in audit(float_copy(net)):
        weight = by_name.get(fact.name if fact.kind == "Parameter" else f"{fact.name}.weight")
        if weight is None and fact.name not in dict(net.named_modules()):
            weight = by_name.get("weight")  # a network that is one layer has no path
        if weight is None:
            facts.append(replace(fact, reason=f"{fact.kind} kept in float32: {_NOT_MARKED}"))
        elif any(scale.shape == weight.scale.shape and torch.equal(scale, weight.scale) for scale in int8_scales):
            facts.append(replace(fact, bits=8, zeros=weight.zeros, reason="", computed_in="int8"))
        else:
            facts.append(replace(fact, reason=f"{fact.kind} kept in float32: {_LIKE_FLOAT}"))
    return tuple(facts)


def working_memory(graph: GraphModule, example: tuple[Tensor, ...]) -> int:
    """Return the peak of the activations that are live at the same time in one pass, in bytes.

    Args:
        graph: a graph that ``pt2e.convert`` returned.
        example: arguments of one forward pass of one sample, on the CPU.
    """
    watcher = _Watcher(graph)
    with torch.no_grad():
        watcher.run(*example)
    return peak_bytes(watcher.inputs, watcher.steps, graph.graph.output_node().all_input_nodes)


def _weight_names(prepared: GraphModule) -> Iterator[tuple[str, str]]:
    for node in prepared.graph.nodes:
        if node.op == "call_function" and len(node.args) > 1 and isinstance(node.args[1], Node):
            observer = node.args[1]
            source = observer.args[0] if observer.op == "call_module" and observer.args else None
            if isinstance(source, Node) and source.op == "get_attr":
                yield node.name, str(source.target)


def _quantized_weights(converted: GraphModule, names: Mapping[str, str]) -> Iterator[QuantizedWeight]:
    for node in converted.graph.nodes:
        if node.name not in names:
            continue
        parts = [part for part in node.args[1].args[:3] if isinstance(part, Node) and part.op == "get_attr"]
        if len(parts) == 3:
            values, scale, zero_point = (attrgetter(str(part.target))(converted).detach() for part in parts)
            yield QuantizedWeight(names[node.name], values, scale, zero_point)


class _Watcher(Interpreter):
    """Runs a graph in float and notes its operations as they are in int8."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph)
        self.inputs: dict[Hashable, Made] = {}
        self.steps: list[Step] = []

    def run_node(self, node: Node) -> Any:
        value = super().run_node(node)
        tensors = [tensor for tensor in tensors_in(value) if tensor.numel()]
        made: dict[Hashable, Made] = {
            node: Made(sum(tensor.numel() for tensor in tensors), sum(tensor.nbytes for tensor in tensors))
        }
        if node.op == "placeholder":
            self.inputs |= made
        elif node.op == "call_function":
            self.steps.append(Step(tuple(node.all_input_nodes), made, self._kind(node, tensors), _in_int8(node)))
        return value

    def _kind(self, node: Node, made: list[Tensor]) -> Kind:
        if (name := _operation(node)) in (_QUANTIZE, _DEQUANTIZE):
            return "quantize" if name == _QUANTIZE else "dequantize"
        read = self.env.get(node.all_input_nodes[0]) if node.all_input_nodes else None
        memories = {tensor.untyped_storage().data_ptr() for tensor in tensors_in(read)}
        if all(tensor.untyped_storage().data_ptr() in memories for tensor in made):
            return "view"
        return kind_of(node.target)


def _in_int8(node: Node) -> bool:
    """Whether a layer reads both what was dequantized for it and dequantized weights."""
    return sum(_operation(source).startswith("dequantize") for source in node.all_input_nodes) > 1


def _operation(node: Node) -> str:
    """Return the name of an operation without library and overload: ``relu`` of ``aten.relu.default``."""
    parts = str(node.target).split(".")
    return parts[1] if node.op == "call_function" and len(parts) > 2 else parts[-1]
