"""What a file of LiteRT holds, and which of its layers are computed in int8."""

import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparsebench.backends.base import Export, Parameter
from sparsebench.backends.litert.files import LAYERS, TYPES, WEIGHT, graph_of, operator, read, values
from sparsebench.measure.liveness import Kind, Made, Step, peak_bytes
from sparsebench.quantization import LayerFact

_COMPUTED = {"FLOAT32": "fp32", "FLOAT16": "fp16", "INT8": "int8", "UINT8": "int8"}
_ELEMENT_BY_ELEMENT = (
    "ADD SUB MUL DIV POW SQRT RSQRT EXP ABS NEG MAXIMUM MINIMUM RELU RELU6 LEAKY_RELU PRELU LOGISTIC HARD_SWISH TANH "
    "ELU GELU SQUARED_DIFFERENCE SQUARE CAST"
)
_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(_ELEMENT_BY_ELEMENT.split(), "elementwise"),
    **dict.fromkeys(["RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SPLIT", "SPLIT_V", "SLICE", "STRIDED_SLICE"], "view"),
}
_NARROW = {"INT4": 4, "INT2": 2}


@dataclass
class _Layer:
    """The weights of one constant, with all operations that multiply by them."""

    name: str
    kind: str
    weights: np.ndarray[Any, Any]
    bits: int
    computed_in: str
    macs: int = 0


def audit_litert(file: bytes, why: str) -> tuple[LayerFact, ...]:
    """List the layers of a file; operations that share weights, as the steps of an unrolled LSTM do, are one.

    Args:
        file: the file as it is shipped, for one sample.
        why: why a layer that the scheme left alone is not int8, with ``{kind}`` for what it is.
    """
    facts, used = [], dict[str, int]()
    for layer in _layers(read(file)):
        used[layer.name] = used.get(layer.name, 0) + 1
        name = layer.name if used[layer.name] == 1 else f"{layer.name} ({used[layer.name]})"
        facts.append(
            LayerFact(
                name=name,
                kind=layer.kind,
                weights=layer.weights.size,
                zeros=layer.weights.size - int(np.count_nonzero(layer.weights)),
                bits=layer.bits,
                reason="" if layer.bits <= 8 else why.format(kind=layer.kind),
                computed_in=layer.computed_in,
                macs=layer.macs,
            )
        )
    return tuple(facts)


def export_of(file: bytes) -> Export:
    """Return what a file holds: its weights and biases, each constant once, and the bytes of all constants."""
    model = read(file)
    graph = graph_of(model)
    arrays = [values(model, graph.tensors[held]) for held in _held(model)]
    # Weights in int8 lie around zero: their zero points are 0.
    found = [
        Parameter(array.size, int(np.count_nonzero(array)), 8 * array.itemsize)
        for array in arrays
        if array is not None and array.size > 1
    ]
    payload = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    return Export(file, tuple(found), payload)


def working_memory_litert(file: bytes) -> int:
    """Return the peak of the activations that are live at the same time in one pass of one sample, in bytes.

    What stands in int8 in the file is held so; nothing is said of it beside its type.
    """
    model = read(file)
    graph = graph_of(model)
    inputs: dict[Hashable, Made] = {number: _made(graph.tensors[number]) for number in graph.inputs}
    steps = [
        Step(
            tuple(number for number in operation.inputs if number >= 0),
            {number: _made(graph.tensors[number]) for number in operation.outputs},
            _KINDS.get(operator(model, operation), "operation"),
        )
        for operation in graph.operators
    ]
    return peak_bytes(inputs, steps, set(graph.outputs))


def _made(tensor: Any) -> Made:
    elements = math.prod(tensor.shape) if tensor.shape is not None else 1
    kind = TYPES.get(tensor.type, "")
    width = np.dtype(kind.lower()).itemsize if hasattr(np, kind.lower()) else 1
    return Made(elements, elements * width)


def _layers(model: Any) -> Iterator[_Layer]:
    graph, found = graph_of(model), dict[int, _Layer]()
    sources = _sources(model)
    for operation in graph.operators:
        kind = operator(model, operation)
        if kind not in LAYERS or len(operation.inputs) <= LAYERS[kind]:
            continue
        held = sources.get(operation.inputs[LAYERS[kind]], operation.inputs[LAYERS[kind]])
        tensor = graph.tensors[held]
        array = values(model, tensor)
        if (array is None and TYPES.get(tensor.type) not in _NARROW) or math.prod(tensor.shape) <= 1:
            continue
        if held not in found:
            found[held] = _layer(model, operation, kind, held, array)
        found[held].macs += _macs(graph, operation, kind, math.prod(tensor.shape))
    yield from found.values()


def _layer(model: Any, operation: Any, kind: str, held: int, array: np.ndarray[Any, Any] | None) -> _Layer:
    graph = graph_of(model)
    tensor = graph.tensors[held]
    port = LAYERS[kind]
    stored = TYPES.get(tensor.type, "")
    given = TYPES.get(graph.tensors[operation.inputs[port]].type, "")  # Of weights alone in int8, what they become.
    # int8 weights that meet activations in float are met by an int8 kernel, which rounds the activations first.
    computed = "" if kind in ("GATHER", "EMBEDDING_LOOKUP") else _COMPUTED.get(given, "")
    weights = np.zeros(tuple(tensor.shape)) if array is None else array
    bits = _NARROW.get(stored, 8 * weights.itemsize)
    name = tensor.name.decode().partition(WEIGHT)[0]
    return _Layer(name, kind, weights, bits, computed)


def _sources(model: Any) -> dict[int, int]:
    """Return, for what is made of a constant by dequantizing it, that constant."""
    return {
        operation.outputs[0]: operation.inputs[0]
        for operation in graph_of(model).operators
        if operator(model, operation) == "DEQUANTIZE"
        and values(model, graph_of(model).tensors[operation.inputs[0]]) is not None
    }


def _held(model: Any) -> list[int]:
    """Return the constants that layers multiply by or add, each once."""
    sources, found = _sources(model), dict[int, None]()
    for operation in graph_of(model).operators:
        if operator(model, operation) in LAYERS:
            ports = (LAYERS[operator(model, operation)], 2)
            for number in (operation.inputs[port] for port in ports if port < len(operation.inputs)):
                if number >= 0:
                    found[sources.get(number, number)] = None
    return [number for number in found if values(model, graph_of(model).tensors[number]) is not None]


def _macs(graph: Any, operation: Any, kind: str, weights: int) -> int:
    first, made = (graph.tensors[place[0]].shape for place in (operation.inputs, operation.outputs))
    if kind in ("GATHER", "EMBEDDING_LOOKUP"):
        return 0
    if kind in ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D"):
        return weights * int(math.prod(made[1:-1]))
    if kind == "TRANSPOSE_CONV":
        return weights * int(math.prod(graph.tensors[operation.inputs[2]].shape[1:-1]))
    if kind == "FULLY_CONNECTED":
        return weights * int(math.prod(first) // graph.tensors[operation.inputs[1]].shape[-1])
    return weights * int(math.prod(made[:-1]))
