"""What an ONNX file holds, and which of its layers ONNX Runtime really computes in int8."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from torch import Tensor

from sparsebench.backends.base import Parameter
from sparsebench.backends.onnxruntime.network import profiled, session, session_options
from sparsebench.quantization import LayerFact

_Ports = tuple[tuple[int, int | None], ...]

# Inputs with weights, each with the input that holds its zero points.
_LAYERS: Mapping[str, _Ports] = {
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
_INT8_KERNELS = {
    "QLinearConv",
    "QGemm",
    "QLinearMatMul",
    "ConvInteger",
    "ConvIntegerToFloat",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
}
_COMPUTED = {32: "fp32", 16: "fp16", 64: "fp64"}
_QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}


@dataclass(frozen=True)
class Held:
    """A tensor of weights or biases that a node uses.

    Attributes:
        port: the input of the node, by number.
        tensor: as the file holds it.
        zero_point: the tensor of its zero points; None for a float.
    """

    port: int
    tensor: onnx.TensorProto
    zero_point: onnx.TensorProto | None

    @cached_property
    def values(self) -> np.ndarray[Any, Any]:
        """Its elements."""
        return np.asarray(numpy_helper.to_array(self.tensor))

    @property
    def bits(self) -> int:
        """Width of one element."""
        return 8 * int(self.values.dtype.itemsize)

    @property
    def elements(self) -> int:
        """How many there are."""
        return math.prod(int(length) for length in self.tensor.dims)

    @property
    def is_weight(self) -> bool:
        """Whether it is more than a vector."""
        return sum(int(length) > 1 for length in self.tensor.dims) >= 2

    @cached_property
    def zeros(self) -> int:
        """How many are zero; for int8, how many equal the zero point."""
        zero = np.asarray(0 if self.zero_point is None else numpy_helper.to_array(self.zero_point))
        if not zero.any():
            return int(np.count_nonzero(self.values == 0))
        # One for all, one for each direction and gate of an LSTM, or one for each channel, whatever their axis.
        shape: list[int] = [length if length == zero.size else 1 for length in self.values.shape]
        if zero.ndim == 2:
            shape = [zero.shape[0], 1, zero.shape[1]]
        return int(np.count_nonzero(self.values == (zero.reshape(shape) if zero.size > 1 else zero.flat[0])))


def parse(file: bytes) -> onnx.ModelProto:
    """Return the model in an ONNX file."""
    return onnx.load_model_from_string(file)


def held_by(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, list[Held]]]:
    """Yield each node that computes on activations, with the weights and biases it uses, in order."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type in _QUANTIZERS:
            continue
        zero_points = dict(_LAYERS.get(node.op_type, ()))
        found = []
        for port, name in enumerate(node.input):
            source = made.get(name)
            if source is not None and source.op_type == "DequantizeLinear" and source.input[0] in tensors:
                zero = tensors.get(source.input[2]) if len(source.input) > 2 else None
                held = Held(port, tensors[source.input[0]], zero)
            elif name in tensors and not _is_scale(name, tensors):
                zero_port = zero_points.get(port)
                zero = tensors.get(node.input[zero_port]) if zero_port is not None else None
                held = Held(port, tensors[name], zero)
                if held.values.dtype.kind != "f" and zero is None:
                    continue  # Shapes and indices.
            else:
                continue
            if held.elements > 1:
                found.append(held)
        if found:
            yield node, found


def parameters_of(model: onnx.ModelProto) -> tuple[Parameter, ...]:
    """Return the weights and biases in a file, each tensor once."""
    seen = {held.tensor.name: held for _, all_held in held_by(model) for held in all_held}
    return tuple(Parameter(held.elements, held.elements - held.zeros, held.bits) for held in seen.values())


def payload_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes of all tensors in a file."""
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)


def audit_onnx(file: bytes, example: tuple[Tensor, ...], why: str) -> tuple[LayerFact, ...]:
    """List the layers of a file.

    Args:
        file: the ONNX file as it is shipped.
        example: positional arguments of one forward pass, from which MACs for one sample are counted.
        why: why a layer that the scheme left alone is not int8, with ``{kind}`` for what it is.
    """
    model = parse(file)
    shapes = {event["name"]: event["args"] for event in profiled(file, tuple(x[:1] for x in example), optimise=False)}
    int8 = _computed_in_int8(file)
    facts, names = [], dict[str, int]()
    for node, all_held in held_by(model):
        ports = dict(_LAYERS.get(node.op_type, ()))
        weights = [held for held in all_held if held.is_weight and (not ports or held.port in ports)]
        if not weights:
            continue
        name = node.name.rpartition("/")[0] or node.name.strip("/")
        names[name] = names.get(name, 0) + 1
        count = sum(held.elements for held in weights)
        bits = max(held.bits for held in weights)
        in_int8 = any(held.tensor.name in int8 for held in weights)
        facts.append(
            LayerFact(
                name=name if names[name] == 1 else f"{name} ({names[name]})",
                kind=node.op_type if node.op_type in _LAYERS else "Parameter",
                weights=count,
                zeros=sum(held.zeros for held in weights),
                bits=bits,
                reason="" if bits <= 8 else why.format(kind=node.op_type),
                computed_in="int8" if in_int8 else _COMPUTED.get(bits, "fp32"),
                macs=_macs(node, weights[0].port, count, shapes.get(node.name)),
            )
        )
    return tuple(facts)


def working_memory_onnx(file: bytes, example: tuple[Tensor, ...]) -> int:
    """Return the largest sum of an operation's activations in and out, in bytes, in one pass of one sample."""
    events = profiled(file, tuple(value[:1] for value in example))
    return max((int(e["args"]["activation_size"]) + int(e["args"]["output_size"]) for e in events), default=0)


def _is_scale(name: str, tensors: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a tensor is a scale or zero point that ONNX Runtime's quantizer made for weights."""
    return any(
        name.endswith(suffix) and f"{name.removesuffix(suffix)}_quantized" in tensors
        for suffix in ("_scale", "_zero_point")
    )


def _computed_in_int8(file: bytes) -> set[str]:
    """Return the names of the tensors that int8 kernels read in the graph that ONNX Runtime optimised."""
    with tempfile.TemporaryDirectory(prefix="sparsebench-onnxruntime-") as folder:
        optimised = Path(folder, "optimised.onnx")
        options = session_options(threads=1)
        options.optimized_model_filepath = str(optimised)
        session(file, options)
        model = onnx.load(str(optimised))
    return {name for node in model.graph.node if node.op_type in _INT8_KERNELS for name in node.input}


def _macs(node: onnx.NodeProto, port: int, weights: int, told: Mapping[str, Any] | None) -> int | None:
    """Return the multiply-accumulates of a node for one sample, from the shapes it had when it ran."""
    if told is None or node.op_type not in _LAYERS:
        return None
    if node.op_type == "Gather":
        return 0
    first, output = _shape(told["input_type_shape"][0]), _shape(told["output_type_shape"][0])
    if node.op_type.startswith("Conv"):
        return weights * math.prod((first if node.op_type == "ConvTranspose" else output)[2:])
    if node.op_type in _RECURRENT:
        return weights * first[0]
    return weights * (math.prod(output[:-1]) if port else output[-1])


def _shape(told: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    return tuple(next(iter(told.values())))
