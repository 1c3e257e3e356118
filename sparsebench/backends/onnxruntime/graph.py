"""What an ONNX file holds, and which of its layers ONNX Runtime really computes in int8."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from torch import Tensor

from sparsebench.backends.base import Export
from sparsebench.backends.onnxruntime.network import profiled, session, session_options
from sparsebench.backends.outside_torch import Held, Met, parameters_of
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


def audit_onnx(file: bytes, example: tuple[Tensor, ...], why: str) -> tuple[LayerFact, ...]:
    """List the layers of a file; weights that several share are counted in the first that runs.

    Args:
        file: the ONNX file as it is shipped.
        example: positional arguments of one forward pass, from which MACs for one sample are counted.
        why: why a layer that the scheme left alone is not int8, with ``{kind}`` for what it is.
    """
    model = onnx.load_model_from_string(file)
    shapes = {event["name"]: event["args"] for event in profiled(file, tuple(x[:1] for x in example), optimise=False)}
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


def working_memory_onnx(file: bytes, example: tuple[Tensor, ...]) -> int:
    """Return the largest sum of an operation's activations in and out, in bytes, in one pass of one sample."""
    told = [event["args"] for event in profiled(file, tuple(value[:1] for value in example))]
    return max((int(args["activation_size"]) + int(args["output_size"]) for args in told), default=0)


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
