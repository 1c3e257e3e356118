"""ONNX files that somebody else may have written: made anew of what computes, with all their weights in them.

A file may name operators of any library, and other files in which its weights lie. What is handed on is the model
alone, of operators of the standard and of ONNX Runtime's own that compute.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import onnx

from sparsebench.errors import QuantizationError, SparsebenchError

_STANDARD = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}
"""Domains whose operators the standard describes, and what it calls them."""

_RUNTIME = "com.microsoft"
_COMPUTING = """
Attention BiasAdd BiasGelu BiasSoftmax BiasSplitGelu CDist ConvTransposeWithDynamicPads DequantizeBFP
DequantizeLinear DynamicQuantizeLSTM DynamicQuantizeMatMul DynamicTimeWarping EmbedLayerNormalization ExpandDims
FastGelu FusedConv FusedGemm FusedMatMul FusedMatMulActivation GatherBlockQuantized GatherND Gelu
GemmaRotaryEmbedding GridSample GroupNorm GroupQueryAttention Inverse Irfft IsAllFinite LayerNormalization
MatMulBnb4 MatMulFpQ4 MatMulInteger16 MatMulIntegerToFloat MatMulNBits MaxpoolWithMask MoE MulInteger
MultiHeadAttention NhwcConv NhwcFusedConv NhwcMaxPool PackedAttention Pad QAttention QEmbedLayerNormalization QGemm
QLinearAdd QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul
QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere QMoE QOrderedMatMul QuantizeLinear QuickGelu Range
ReduceSumInteger Rfft RotaryEmbedding SimplifiedLayerNormalization SkipGroupNorm SkipLayerNormalization
SkipSimplifiedLayerNormalization SparseToDenseMatMul TransposeMatMul Trilu Unique WordConvEmbedding
"""
"""ONNX Runtime's operators that compute. Others load what was compiled elsewhere, or call Python."""

_LARGEST = 2**31 - 2**20
"""A message of protobuf has at most 2 GB."""

_NUMBER = re.compile(r"\d{1,18}")


def artifact(content: bytes, name: str) -> bytes:
    """Return the model in an artifact of a run, made anew; it has all its weights in it.

    Raises:
        QuantizationError: where it has not, or calls what is no operator that computes.
    """

    def beside(other: str) -> bytes:
        raise SparsebenchError(f"has weights in another file, {other[:80]!r}, which is not read.")

    try:
        return bytes(checked(content, beside).SerializeToString(deterministic=True))
    except SparsebenchError as error:
        raise QuantizationError(f"The artifact {name} {error} Compress the network again.") from error


def checked(content: bytes, beside: Callable[[str], bytes]) -> onnx.ModelProto:
    """Return a model with its weights in it and nothing else, of operators that compute.

    Args:
        content: of an ONNX file.
        beside: returns the content of another file, of which the model gives the name, or refuses it.

    Raises:
        SparsebenchError: where it has others, or weights that are not there; a sentence without the file's name.
    """
    try:
        model = onnx.ModelProto()
        model.ParseFromString(content)
    except Exception as error:  # Each implementation of protobuf has its own.
        raise SparsebenchError(f"is no ONNX file ({error}); write it with torch.onnx.export.") from error
    if not model.graph.node and not model.graph.output:
        raise SparsebenchError("is no ONNX file; write it with torch.onnx.export.")
    model.DiscardUnknownFields()
    for what in ("metadata_props", "training_info", "doc_string"):
        model.ClearField(what)
    functions = {(function.domain, function.name) for function in model.functions}
    graphs = list(_graphs_in(model.graph))
    for part in (*graphs, *(inner for function in model.functions for inner in _graphs_in(function))):
        for node in part.node:
            _refuse_others(node, functions)
    outside: dict[str, bytes] = {}
    for tensor in _tensors_in(model):
        _take_in(tensor, beside, outside)
    size = model.ByteSize()
    if size > _LARGEST:
        raise SparsebenchError(
            f"has {size / 1e9:.3g} GB with the weights that lie beside it; at most {_LARGEST / 1e9:.3g} GB can be "
            "handed on. Time a smaller network, or this one as .xml."
        )
    return model


def _refuse_others(node: onnx.NodeProto, functions: set[tuple[str, str]]) -> None:
    if (node.domain, node.op_type) in functions:
        return  # Its own operators are looked at as well.
    if node.domain in _STANDARD and onnx.defs.has(node.op_type, _STANDARD[node.domain]):
        return
    if node.domain == _RUNTIME and node.op_type in _COMPUTING.split():
        return
    name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    raise SparsebenchError(
        f"calls {name[:80]!r}, which is none of the operators of ONNX and of ONNX Runtime that only compute; it is not "
        "run. Export a network of PyTorch's own layers."
    )


def _graphs_in(graph: Any) -> Iterator[Any]:
    """Yield a graph, or the body of a function, and all graphs that its nodes hold."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs_in(inner)


def _tensors_in(message: Any) -> Iterator[onnx.TensorProto]:
    """Yield all tensors within a message, wherever they are."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if hasattr(value, "__len__") else [value]:
                yield from _tensors_in(one)


def _take_in(tensor: onnx.TensorProto, beside: Callable[[str], bytes], outside: dict[str, bytes]) -> None:
    """Put the values of a tensor that lie in a file beside the model into the model."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        tensor.ClearField("external_data")
        return
    told = {entry.key: entry.value for entry in tensor.external_data}
    name = told.get("location", "")
    if name not in outside:
        outside[name] = beside(name)
    there = outside[name]
    offset, length = told.get("offset", "0"), told.get("length", str(len(there)))
    needed = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if not _NUMBER.fullmatch(offset) or not _NUMBER.fullmatch(length) or int(offset) + int(length) > len(there):
        raise SparsebenchError(
            f"says that {tensor.name[:80]!r} lies at {offset[:20]} of {name!r} with {length[:20]} bytes, and the file "
            f"has {len(there):,}. Export it again."
        )
    if needed > int(length):
        raise SparsebenchError(f"says that {tensor.name[:80]!r} has {needed:,} bytes, and there are {length}.")
    tensor.raw_data = there[int(offset) : int(offset) + int(length)]
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.DEFAULT
