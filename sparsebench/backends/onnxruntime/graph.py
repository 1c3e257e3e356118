"""What an ONNX file holds, and which of its layers ONNX Runtime really computes in int8."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from sparsebench.backends.base import Export
from sparsebench.backends.onnxruntime.sessions import session, session_options
from sparsebench.backends.outside_torch import Held, Met, parameters_of
from sparsebench.measure.liveness import Kind, Made, Step, peak_bytes
from sparsebench.quantization import LayerFact
from sparsebench.store.scratch import scratch

# Inputs with weights, each with the input that holds its zero points.
_LAYERS: Mapping[str, tuple[tuple[int, int | None], ...]] = {
    "Conv": ((1, None),),
    "ConvTranspose": ((1, None),),
    "ConvInteger": ((1, 3),),
    "Gemm": ((1, None),),
    "MatMul": ((1, None), (0, None)),
    "MatMulInteger": ((1, 3),),
    "LSTM": ((1, None), (2, None)),
    "GRU": ((1, None), (2, None)),
    "RNN": ((1, None), (2, None)),
    "DynamicQuantizeLSTM": ((1, 9), (2, 11)),
    "Gather": ((0, None),),
}
_RECURRENT = {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"}
_INTEGER = {"ConvInteger", "ConvIntegerToFloat", "MatMulInteger", "MatMulIntegerToFloat"}
_INT8_KERNELS = {"QLinearConv", "QGemm", "QLinearMatMul", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"} | _INTEGER
_COMPUTED = {32: "fp32", 16: "fp16", 64: "fp64"}
_BYTES = {"float16": 2, "bfloat16": 2, "double": 8, "int64": 8, "uint64": 8, "int8": 1, "uint8": 1, "bool": 1}
_ELEMENT_BY_ELEMENT = (
    "Add Sub Mul Div Pow Sqrt Exp Erf Neg Abs Max Min Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid HardSwish Tanh Elu "
    "Celu Selu Gelu Mish Softplus BatchNormalization Cast"
)
_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(_ELEMENT_BY_ELEMENT.split(), "elementwise"),
    **dict.fromkeys(["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Split", "Slice"], "view"),
    "QuantizeLinear": "quantize",
    "DequantizeLinear": "dequantize",
}


def held_by(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, list[Held]]]:
    """Yield each node that computes on activations, with the weights and biases it uses, in order."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    dequantized = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        zero_ports = dict(_LAYERS.get(node.op_type, ()))
        found = []
        for port, name in enumerate(node.input):
            source, zero_port = dequantized.get(name), zero_ports.get(port)
            if source is not None:
                held, zero = source.input[0], next(iter(source.input[2:]), "")
            else:
                held, zero = name, "" if zero_port is None else node.input[zero_port]
            if held not in tensors or (source is None and _is_scale(held, tensors)):
                continue
            values = np.asarray(numpy_helper.to_array(tensors[held]))
            # Other integers are shapes and indices.
            if values.size > 1 and (source is not None or zero in tensors or values.dtype.kind == "f"):
                found.append(Held.of(values, _zero_points(tensors.get(zero), values), held, port))
        if found:
            yield node, found


def _zero_points(tensor: onnx.TensorProto | None, values: np.ndarray[Any, Any]) -> Any:
    zero = np.asarray(0 if tensor is None else numpy_helper.to_array(tensor))
    if zero.size == 1 or not zero.any():
        return zero.flat[0]
    # One for each direction and gate of an LSTM, or one for each channel, whatever their axis.
    if zero.ndim == 2:
        return zero.reshape(zero.shape[0], 1, zero.shape[1])
    return zero.reshape([length if length == zero.size else 1 for length in values.shape])


def export_of(file: bytes) -> Export:
    """Return what an ONNX file holds: its weights and biases, each tensor once, and the bytes of all tensors."""
    model = onnx.load_model_from_string(file)
    payload = sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
    return Export(file, parameters_of(held_by(model)), payload)


def audit_onnx(file: bytes, told: Sequence[Mapping[str, Any]], why: str) -> tuple[LayerFact, ...]:
    """List the layers of a file; weights that several share are counted in the first that runs.

    Args:
        file: the ONNX file as it is shipped.
        told: what ONNX Runtime tells of one pass of one sample, without optimisations; MACs are counted from it.
        why: why a layer that the scheme left alone is not int8, with ``{kind}`` for what it is.
    """
    model = onnx.load_model_from_string(file)
    shapes = {event["name"]: event["args"] for event in told}
    int8 = _computed_in_int8(file)
    facts, met = [], Met()
    for node, all_held in held_by(model):
        ports = dict(_LAYERS.get(node.op_type, ()))
        weights = [held for held in all_held if held.is_weight and (not ports or held.port in ports)]
        if not weights:
            continue
        bits = max(held.bits for held in weights)
        in_int8 = any(held.name in int8 for held in weights)
        facts.append(
            met.layer_fact(
                node.name.rpartition("/")[0] or node.name.strip("/"),
                weights,
                bits,
                why.format(kind=node.op_type),
                kind=node.op_type if node.op_type in _LAYERS else "Parameter",
                computed_in="int8" if in_int8 else _COMPUTED.get(bits, "fp32"),
                macs=_macs(node, weights, shapes.get(node.name)),
            )
        )
    return tuple(facts)


def working_memory_onnx(file: bytes, told: Sequence[Mapping[str, Any]]) -> int:
    """Return the peak of the activations that are live at the same time in one pass of one sample, in bytes.

    Args:
        file: the ONNX file as it is shipped.
        told: what ONNX Runtime tells of that pass, without optimisations.
    """
    graph = onnx.load_model_from_string(file).graph
    args = {event["name"]: event["args"] for event in told}
    held = {tensor.name for tensor in graph.initializer}
    of_constants = {
        node.output[0] for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in held
    }
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    inputs: dict[Hashable, Made] = {}
    steps = []
    for node in graph.node:
        if node.op_type == "Shape" or node.name not in args:  # Shapes are known before a runtime begins.
            continue
        if missing := [name for name in node.input if name not in inputs and name in _given(graph)]:
            shapes = args[node.name]["input_type_shape"]
            present = [name for name in node.input if name]
            inputs |= {name: _made(shapes[present.index(name)]) for name in missing}
        made = zip(filter(None, node.output), args[node.name]["output_type_shape"], strict=False)
        steps.append(
            Step(
                tuple(node.input),
                {name: _made(told) for name, told in made},
                _KINDS.get(node.op_type, "operation"),
                in_int8=node.op_type in _LAYERS
                and bool(of_constants & set(node.input))
                and node.input[0] in dequantized,
            )
        )
    return peak_bytes(inputs, steps, {value.name for value in graph.output})


def _given(graph: onnx.GraphProto) -> set[str]:
    return {value.name for value in graph.input}


def _made(told: Mapping[str, Sequence[int]]) -> Made:
    kind, shape = next(iter(told.items()))
    elements = math.prod(shape)
    return Made(elements, elements * _BYTES.get(kind, 4))


def _is_scale(name: str, tensors: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a tensor is a scale or zero point that ONNX Runtime's quantizer made for weights."""
    return any(
        name.endswith(suffix) and f"{name.removesuffix(suffix)}_quantized" in tensors
        for suffix in ("_scale", "_zero_point")
    )


def _computed_in_int8(file: bytes) -> set[str]:
    with scratch() as folder:
        optimised = folder / "optimised.onnx"
        options = session_options(threads=1)
        options.optimized_model_filepath = str(optimised)
        session(file, options)
        model = onnx.load(str(optimised))
    return {name for node in model.graph.node if node.op_type in _INT8_KERNELS for name in node.input}


def _macs(node: onnx.NodeProto, held: Sequence[Held], told: Mapping[str, Any] | None) -> int | None:
    if told is None or node.op_type not in _LAYERS:
        return None
    if node.op_type == "Gather":
        return 0
    weights = sum(one.elements for one in held)
    first, output = _shape(told["input_type_shape"][0]), _shape(told["output_type_shape"][0])
    if node.op_type.startswith("Conv"):
        return weights * math.prod((first if node.op_type == "ConvTranspose" else output)[2:])
    if node.op_type in _RECURRENT:
        return weights * first[0]
    return weights * (math.prod(output[:-1]) if held[0].port else output[-1])


def _shape(told: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    return tuple(next(iter(told.values())))
