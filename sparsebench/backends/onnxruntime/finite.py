"""Static ONNX files without the scales that mean nothing: an infinite one, or one that a mask has made coarse."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from sparsebench.quantization.observing import COARSE, INFINITE

MASKED = 1e3
"""A difference of scores of which a softmax makes zero many times over: masks lie as far from all others, no score."""

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_SOFTMAX = ("Softmax", "LogSoftmax")


def with_finite_scales(file: bytes, unquantized: onnx.ModelProto) -> tuple[bytes, dict[str, str]]:
    """Return a quantized file whose tensors without a useful scale are in float again, and why each of them is.

    Args:
        file: what ONNX Runtime's static quantizer wrote, in QDQ form.
        unquantized: what it was made of, in which constants still have their values.
    """
    model = onnx.load_model_from_string(file)
    graph = model.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    before = {tensor.name: tensor for tensor in unquantized.graph.initializer}
    made_by = {name: node.name.strip("/") for node in graph.node for name in node.output}
    named, floats, gone = dict[str, str](), dict[str, str](), list[onnx.NodeProto]()
    for first, last, reason in _unfit(graph, held):
        source = first.input[0] if first is not None else last.input[0].removesuffix("_quantized")
        if first is None and source not in before:
            continue
        named[made_by.get(source) or source] = reason
        floats[last.output[0]] = source
        gone += [last] if first is None else [first, last]
        if first is None and source not in held:
            graph.initializer.append(before[source])
    if not floats:
        return file, {}
    for node in gone:
        if node in graph.node:
            graph.node.remove(node)
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in floats:
                node.input[place] = floats[name]
    for output in graph.output:
        if output.name in floats:
            graph.node.append(
                onnx.helper.make_node("Identity", [floats[output.name]], [output.name], f"/{output.name}")
            )
    used = {name for node in graph.node for name in node.input}
    for tensor in list(graph.initializer):
        if tensor.name not in used:
            graph.initializer.remove(tensor)
    return bytes(model.SerializeToString(deterministic=True)), named


def _unfit(
    graph: onnx.GraphProto, held: Mapping[str, onnx.TensorProto]
) -> Iterator[tuple[onnx.NodeProto | None, onnx.NodeProto, str]]:
    """Yield what quantizes a tensor (None for a constant), what turns it back into float, and why neither is of use."""
    readers = defaultdict[str, list[str]](list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node.op_type)
    quantizing = {node.output[0]: node for node in graph.node if node.op_type == _QUANTIZE}
    for node in graph.node:
        if node.op_type != _DEQUANTIZE or node.input[1] not in held:
            continue
        scale = np.asarray(numpy_helper.to_array(held[node.input[1]]), dtype=np.float64)
        if not np.isfinite(scale).all():
            yield quantizing.get(node.input[0]), node, INFINITE
        elif scale.max() * np.iinfo(np.uint8).max >= MASKED and any(
            reader in _SOFTMAX for reader in readers[node.output[0]]
        ):
            yield quantizing.get(node.input[0]), node, COARSE
