"""What an OpenVINO model holds, and in which format its layers are really computed."""

import math
import re
from collections.abc import Collection, Hashable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from sparsebench.backends.outside_torch import Held, Met
from sparsebench.measure.liveness import Kind, Made, Step, peak_bytes
from sparsebench.quantization import LayerFact, quiet_runtimes

# The one place where OpenVINO is imported: it reports its use from then on, unless it is kept from it.
with quiet_runtimes():
    import openvino as ov

__all__ = [
    "PACKED",
    "audit_openvino",
    "core",
    "held_by",
    "ov",
    "sparse_layers",
    "weight_port",
    "working_memory_openvino",
]

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
PACKED = "zeros packed"
"""What the audit says of a layer whose weights are kept without their zeros."""

_MODULE = re.compile(r"^__module\.([^/]+)/")
_ELEMENT_BY_ELEMENT = (
    "Add Subtract Multiply Divide Power Sqrt Exp Erf Negative Abs Maximum Minimum Relu PRelu Clamp Sigmoid HSigmoid "
    "HSwish Swish Tanh Elu Selu Gelu Mish SoftPlus BatchNormInference Convert"
)
_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(_ELEMENT_BY_ELEMENT.split(), "elementwise"),
    **dict.fromkeys(["Reshape", "Squeeze", "Unsqueeze", "Split", "VariadicSplit", "StridedSlice", "Slice"], "view"),
    "FakeQuantize": "quantize",
}


@lru_cache(maxsize=1)
def core() -> ov.Core:
    """Return the runtime, of which a process has one."""
    return ov.Core()


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
                if source is None:
                    continue
                values, kind = np.asarray(source[0].data), source[0].get_element_type()
                # Other integers are shapes and indices.
                if values.size > 1 and (
                    source[1] is not None or kind.is_real() or kind.get_type_name() in ("i8", "u8")
                ):
                    zero = 0 if source[1] is None else source[1].data
                    found.append(Held.of(values, zero, source[0].get_friendly_name(), port))
            if found:
                yield operation, found


def audit_openvino(model: ov.Model, ran: Any, why: str, sparse: Collection[str] = ()) -> tuple[LayerFact, ...]:
    """List the layers of a model; weights that several share are counted in the first that runs.

    Args:
        model: the model as it is shipped, with shapes for one sample.
        ran: the compiled model's own graph, in which layers are fused and have the format they run in.
        why: why a layer that the scheme left alone is not int8.
        sparse: names of the operations whose weights are kept packed; their kind says so.
    """
    formats = _Formats(ran)
    facts, met = [], Met()
    for operation, all_held in held_by(model):
        kind = operation.get_type_name()
        ports = _RECURRENT.get(kind)
        weights = [held for held in all_held if held.is_weight and (ports is None or held.port in ports)]
        if not weights:
            continue
        computed = formats[operation]
        bits = max(held.bits for held in weights)
        facts.append(
            met.layer_fact(
                _module_name(operation, weights[0]),
                weights,
                16 if bits > 8 and computed in ("bf16", "fp16") else bits,
                why.format(kind=kind),
                kind=_kind(operation, sparse),
                computed_in=computed,
                macs=_macs(operation, sum(held.elements for held in weights)),
            )
        )
    return tuple(facts)


def sparse_layers(model: ov.Model, rate: float) -> set[str]:
    """Return the names of the linear layers with int8 weights of which at least such a share is zero."""
    return {
        operation.get_friendly_name()
        for operation, all_held in held_by(model)
        if operation.get_type_name() == "MatMul"
        and any(held.is_weight and held.bits == 8 for held in all_held)
        and all(held.nonzero <= (1 - rate) * held.elements for held in all_held if held.is_weight)
    }


def working_memory_openvino(model: ov.Model, in_half: bool) -> int | None:
    """Return the peak of the activations that are live at the same time in one pass of one sample, in bytes.

    Args:
        model: the model as it is shipped, with shapes for one sample. Where they are open, None is returned.
        in_half: whether it runs in 16 bits.
    """
    inputs: dict[Hashable, Made] = {}
    outputs: list[Hashable] = []
    steps = []
    for operation in model.get_ordered_ops():
        kind = operation.get_type_name()
        if any(value.get_partial_shape().is_dynamic for value in operation.outputs()):
            return None
        made: dict[Hashable, Made] = {_name(value): _made(value, in_half) for value in operation.outputs()}
        reads = tuple(_name(value) for value in operation.input_values())
        if kind == "Parameter":
            inputs |= made
        elif kind == "Result":
            outputs += reads
        elif kind != "ShapeOf":  # Shapes are known before a runtime begins.
            steps.append(Step(reads, made, _KINDS.get(kind, "operation")))
    return peak_bytes(inputs, steps, outputs)


def _kind(operation: Any, sparse: Collection[str]) -> str:
    kind = str(operation.get_type_name())
    if weight_port(operation) is None and kind != "Gather":
        return "Parameter"
    return f"{kind}, {PACKED}" if operation.get_friendly_name() in sparse else kind


def _name(value: Any) -> tuple[str, int]:
    return value.get_node().get_friendly_name(), value.get_index()


def _made(value: Any, in_half: bool) -> Made:
    elements, kind = math.prod(value.get_shape()), value.get_element_type()
    return Made(elements, elements * (2 if in_half and kind.is_real() else int(kind.size)))


def _activations(operation: Any) -> list[Any]:
    return [value for value in operation.input_values() if _told(value.get_node(), "layerType") != "Const"]


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
    module = _MODULE.match(operation.get_friendly_name())
    if module:
        return module[1]
    if held.name.startswith("self."):
        return held.name.removeprefix("self.").removesuffix(".weight")
    return str(operation.get_friendly_name())


def _key(name: str) -> str:
    """Return the name without what OpenVINO appends for the parts of one torch function: module and function."""
    return "/".join(name.split("/")[:2]) if name.startswith("__module.") else name.split("/")[0]


class _Formats:
    """In which format the layers of a compiled model run, from the graph that runs."""

    def __init__(self, ran: Any) -> None:
        self.layers: dict[str, str] = {}  # by module and function of what was fused into a layer
        self.fused: dict[str, str] = {}  # by name, of what was fused into a piece of generated code
        self.recurrent = ""  # whatever their names: a layer in two directions is split, and loses its name
        for operation in ran.get_ordered_ops():
            kind, format_ = _told(operation, "layerType"), _format(operation)
            names = _told(operation, "originalLayersNames").split(",")
            if kind in _LAYERS:
                self.layers |= {_key(name): format_ for name in names}
            elif kind == "Subgraph":
                self.fused |= dict.fromkeys(names, format_)
            if kind.startswith("RNN"):
                self.recurrent = format_

    def __getitem__(self, operation: Any) -> str:
        name, kind = operation.get_friendly_name(), operation.get_type_name()
        otherwise = self.recurrent if kind in _RECURRENT else self.fused.get(name, "")
        return self.layers.get(_key(name), otherwise)


def _format(operation: Any) -> str:
    """Return the format of the activations that go into a layer; its own is that of packed weights, for some."""
    kinds = [value.get_element_type().get_type_name() for value in _activations(operation)]
    return _COMPUTED.get(kinds[0], "") if kinds else ""


def _told(operation: Any, key: str) -> str:
    info = operation.get_rt_info()
    return str(info[key].value) if key in info else ""


def _macs(operation: Any, weights: int) -> int | None:
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
