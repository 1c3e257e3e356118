"""What an OpenVINO model holds, and in which format its layers are really computed."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sparsebench.backends.base import Parameter
from sparsebench.backends.openvino.runtime import ov
from sparsebench.quantization import LayerFact

_RECURRENT = {
    "LSTMSequence": (4, 5),
    "GRUSequence": (3, 4),
    "RNNSequence": (3, 4),
    "LSTMCell": (3, 4),
    "GRUCell": (2, 3),
    "RNNCell": (2, 3),
}
_CONVOLUTIONS = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"}
_FIRST_INPUT = {"Convert", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Multiply", "FakeQuantize", "Subtract"}
_COMPUTED = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}
_LAYERS = {"Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell", "Gather"}
_MODULE = re.compile(r"^__module\.([^/]+)/")
_NOT_COMPUTED = {"Const", "Input", "Output", "Reshape"}
_WIDTHS = {"u4": 4, "i4": 4, "u2": 2, "u1": 1, "nf4": 4}


@dataclass(frozen=True)
class Held:
    """A constant of weights or biases that an operation uses.

    Attributes:
        port: the input of the operation, by number.
        constant: the node that holds it.
        zero_point: the node that holds its zero points, None for symmetric and float weights.
    """

    port: int
    constant: Any
    zero_point: Any | None

    @property
    def bits(self) -> int:
        """Width of one element."""
        kind = self.constant.get_element_type()
        return _WIDTHS.get(kind.get_type_name(), 8 * int(kind.size))

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Its shape as it is stored."""
        return tuple(self.constant.get_output_shape(0))

    @property
    def elements(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    @property
    def is_weight(self) -> bool:
        """Whether it is more than a vector."""
        return sum(length > 1 for length in self.shape) >= 2

    @cached_property
    def zeros(self) -> int:
        """How many are zero; for int8, how many equal the zero point."""
        zero = 0 if self.zero_point is None else np.asarray(self.zero_point.data)
        return int(np.count_nonzero(np.asarray(self.constant.data) == zero))


def weight_port(operation: Any) -> int | None:
    """Return the first input of a layer that holds weights, None where the operation is no layer."""
    kind = operation.get_type_name()
    if kind in _RECURRENT:
        return _RECURRENT[kind][0]
    if kind in _CONVOLUTIONS:
        return 1
    if kind == "MatMul":
        return next((port for port in (1, 0) if _source(operation, port)), None)
    return None


def held_by(model: ov.Model) -> Iterator[tuple[Any, list[Held]]]:
    """Yield each operation that computes on activations, with the constants it uses, in order."""
    constant: set[str] = set()
    for operation in model.get_ordered_ops():
        inputs = [value.get_node().get_friendly_name() for value in operation.input_values()]
        kind = operation.get_type_name()
        if kind == "Constant" or (inputs and all(name in constant for name in inputs)):
            constant.add(operation.get_friendly_name())
        elif kind not in ("FakeQuantize", "Parameter", "Result"):
            found = []
            for port, name in enumerate(inputs):
                source = _source(operation, port) if name in constant else None
                if source and (source[1] is not None or source[0].get_element_type().is_real() or _is_int8(source[0])):
                    held = Held(port, *source)
                    if held.elements > 1:
                        found.append(held)
            if found:
                yield operation, found


def parameters_of(model: ov.Model) -> tuple[Parameter, ...]:
    """Return the weights and biases of a model, each constant once."""
    seen = {held.constant.get_friendly_name(): held for _, all_held in held_by(model) for held in all_held}
    return tuple(Parameter(held.elements, held.elements - held.zeros, held.bits) for held in seen.values())


def audit_openvino(model: ov.Model, ran: Any | None, why: str) -> tuple[LayerFact, ...]:
    """List the layers of a model.

    Args:
        model: the model as it is shipped, with shapes for one sample.
        ran: the compiled model's own graph, in which layers are fused and have the format they run in.
        why: why a layer that the scheme left alone is not int8.
    """
    formats = _Formats.of(ran)
    facts, names = [], defaultdict[str, int](int)
    for operation, all_held in held_by(model):
        kind = operation.get_type_name()
        ports = _RECURRENT.get(kind)
        weights = [held for held in all_held if held.is_weight and (ports is None or held.port in ports)]
        if not weights:
            continue
        name = _module_name(operation, weights[0])
        names[name] += 1
        name = name if names[name] == 1 else f"{name} ({names[name]})"
        computed = formats[operation]
        bits = max(held.bits for held in weights)
        if bits > 8 and computed in ("bf16", "fp16"):
            bits = 16
        count = sum(held.elements for held in weights)
        facts.append(
            LayerFact(
                name=name,
                kind=kind if weight_port(operation) is not None or kind == "Gather" else "Parameter",
                weights=count,
                zeros=sum(held.zeros for held in weights),
                bits=bits,
                reason="" if bits <= 8 else why.format(kind=kind),
                computed_in=computed,
                macs=_macs(operation, count),
            )
        )
    return tuple(facts)


def working_memory_openvino(ran: Any) -> int:
    """Return the largest sum of an operation's activations in and out, in bytes, as they are when it runs.

    Args:
        ran: the graph of a model that was compiled for one sample.
    """
    most = 0
    for operation in ran.get_ordered_ops():
        if _told(operation, "layerType") in _NOT_COMPUTED:
            continue
        inputs = [value for value in operation.input_values() if _told(value.get_node(), "layerType") != "Const"]
        most = max(most, sum(_bytes(value) for value in (*inputs, *operation.outputs())))
    return most


def _bytes(value: Any) -> int:
    shape = value.get_partial_shape()
    if shape.is_dynamic:
        return 0
    return int(math.prod(value.get_shape())) * int(value.get_element_type().size)


def _is_int8(constant: Any) -> bool:
    return constant.get_element_type().get_type_name() in ("i8", "u8", "i4", "u4", "nf4")


def _source(operation: Any, port: int) -> tuple[Any, Any | None] | None:
    """Return the constant behind an input and the constant of its zero points, None where there is none."""
    node, zero_point = operation.input_value(port).get_node(), None
    while node.get_type_name() != "Constant":
        if node.get_type_name() not in _FIRST_INPUT:
            return None
        if node.get_type_name() == "Subtract":
            found = _source(node, 1)
            zero_point = found[0] if found else None
        node = node.input_value(0).get_node()
    return node, zero_point


def _module_name(operation: Any, held: Held) -> str:
    """Return the path of the torch module that an operation stands for, or the best name that is left."""
    module = _MODULE.match(operation.get_friendly_name())
    if module:
        return module[1]
    constant = str(held.constant.get_friendly_name())
    if constant.startswith("self."):
        return constant.removeprefix("self.").removesuffix(".weight")
    return str(operation.get_friendly_name())


def _key(name: str) -> str:
    """Return the name without what OpenVINO appends for the parts of one torch function: module and function."""
    return "/".join(name.split("/")[:2]) if name.startswith("__module.") else name.split("/")[0]


@dataclass(frozen=True)
class _Formats:
    """In which format the layers of a compiled model run.

    Attributes:
        layers: by module and function of what was fused into a layer.
        fused: by name, of what was fused into a piece of generated code.
        recurrent: of recurrent layers, whatever their names: one in two directions is split, and loses its name.
    """

    layers: Mapping[str, str]
    fused: Mapping[str, str]
    recurrent: str

    @classmethod
    def of(cls, ran: Any | None) -> _Formats:
        """Read the graph of a compiled model; None for one that is not known."""
        layers: dict[str, str] = {}
        fused: dict[str, str] = {}
        recurrent = ""
        for operation in ran.get_ordered_ops() if ran is not None else ():
            kind, format_ = _told(operation, "layerType"), _format(operation)
            names = _told(operation, "originalLayersNames").split(",")
            if kind in _LAYERS:
                layers |= {_key(name): format_ for name in names}
            elif kind == "Subgraph":
                fused |= dict.fromkeys(names, format_)
            if kind.startswith("RNN"):
                recurrent = format_
        return cls(layers, fused, recurrent)

    def __getitem__(self, operation: Any) -> str:
        name, kind = operation.get_friendly_name(), operation.get_type_name()
        otherwise = self.recurrent if kind in _RECURRENT else self.fused.get(name, "")
        return self.layers.get(_key(name), otherwise)


def _format(operation: Any) -> str:
    """Return the format of the activations that go into a layer; its own is that of packed weights, for some."""
    inputs = (value for value in operation.input_values() if _told(value.get_node(), "layerType") != "Const")
    first = next(inputs, None)
    return "" if first is None else _COMPUTED.get(first.get_element_type().get_type_name(), "")


def _told(operation: Any, key: str) -> str:
    info = operation.get_rt_info()
    return str(info[key].value) if key in info else ""


def _macs(operation: Any, weights: int) -> int | None:
    """Return the multiply-accumulates of an operation whose shapes are those for one sample."""
    kind, output = operation.get_type_name(), operation.get_output_partial_shape(0)
    first = operation.input_value(0).get_partial_shape()
    if output.is_dynamic or first.is_dynamic:
        return None
    shape: tuple[int, ...] = tuple(operation.get_output_shape(0))
    if kind in _CONVOLUTIONS:
        place: tuple[int, ...] = tuple(first.to_shape())[2:] if "Backprop" in kind else shape[2:]
        return weights * math.prod(place)
    if kind == "MatMul":
        # On either side, each weight meets every row of the activations once.
        port = 1 if _source(operation, 1) else 0
        return weights * (math.prod(shape[:-1]) if port else shape[-1])
    if kind in _RECURRENT:
        return weights * (int(first.to_shape()[1]) if kind.endswith("Sequence") else 1)
    return 0 if kind == "Gather" else None
